#!/usr/bin/env python3
"""Invoices with a truth that a scorer can read, for `plans/invoices.yaml`.

    python3 make_invoices.py samples             writes plans/samples/invoices/*.pdf and plans/samples/truth/invoices/truth.jsonl
    python3 make_invoices.py batch OUTDIR        30 more from make_batch.py (--count, --seed, --layouts): OUTDIR/*.pdf, OUTDIR/truth.jsonl

Needs reportlab (pip install reportlab). The same call gives the same bytes.

The ten samples are invoices of one item and few words, written by hand: small enough that even a very small model reads
some of them right. The batch has 3 to 18 items each, with full grids, with rules and in continental number style.

One line of truth for each file, numbers plain:
    {"file": "nordlys_90012.pdf", "number": "90012", "date": "2024-01-15", "vendor": "Nordlys Electric",
     "lines": [{"text": "Power for December", "quantity": 1, "amount": 310.25}], "total": 310.25, "currency": "EUR"}
`quantity` is missing where the invoice names none. `score_invoices.py` compares.
"""
import argparse
import json
import os
import shutil
import tempfile

TOOLS = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(TOOLS))
SAMPLES = os.path.join(TOP, "plans", "samples")

# name, lines of the page ("left|right" is set at both margins), number, date, vendor, currency, (text, quantity, amount)
SAMPLE = [
    ("nordlys_90012",
     ["Nordlys Electric", "Invoice number 90012", "Date 2024-01-15", "Power for December 310.25", "Total EUR 310.25"],
     "90012", "2024-01-15", "Nordlys Electric", "EUR", ("Power for December", None, 310.25)),
    ("rosen_118",
     ["Rosen Bakery", "Invoice number RB-118", "Date 2023-11-30", "Wedding cake 140.00", "Total GBP 140.00"],
     "RB-118", "2023-11-30", "Rosen Bakery", "GBP", ("Wedding cake", None, 140.0)),
    ("miller_77",
     ["Miller Garage", "Invoice number 77/A", "Date 2022-06-09", "New tyres 280.00", "Total USD 280.00"],
     "77/A", "2022-06-09", "Miller Garage", "USD", ("New tyres", None, 280.0)),
    ("lind_0007",
     ["Studio Lind", "Invoice number 2024-0007", "Date 2024-07-01", "Poster design 1,020.00", "Total EUR 1,020.00"],
     "2024-0007", "2024-07-01", "Studio Lind", "EUR", ("Poster design", None, 1020.0)),
    ("linz_553120",
     ["Linz Water Works", "Invoice number W553120", "Date 12 December 2023", "Water, 92 m3 at 1.80|165.60", "Amount due|EUR 165.60"],
     "W553120", "2023-12-12", "Linz Water Works", "EUR", ("Water", 92, 165.6)),
    ("fjord_31",
     ["Blue Fjord Seafood", "Invoice SO-31 of 2 August 2023", "Item|Quantity|Price|Amount", "Cod|20 kg|11.00|220.00", "Total NOK|220.00"],
     "SO-31", "2023-08-02", "Blue Fjord Seafood", "NOK", ("Cod", 20, 220.0)),
    ("weiss_204",
     ["Dr. Anna Weiss, dentist", "Fee note 18-204", "23.09.2024", "Filling, upper left|95,00", "Please pay EUR 95,00 within 14 days."],
     "18-204", "2024-09-23", "Dr. Anna Weiss", "EUR", ("Filling, upper left", None, 95.0)),
    ("taxi_0031",
     ["TAXI 24", "Receipt number 0031", "Date 2024-10-10", "Fare to the airport 38.90", "Total CHF 38.90"],
     "0031", "2024-10-10", "TAXI 24", "CHF", ("Fare to the airport", None, 38.9)),
    ("harbour_4410",
     ["Harbour Storage Ltd", "INVOICE", "No. HS/4410", "March 3, 2025", "To: Kestrel Parts, 12 Dock Road", "Pallet storage, February|1,275.00", "Balance due|$1,275.00"],
     "HS/4410", "2025-03-03", "Harbour Storage Ltd", "USD", ("Pallet storage, February", None, 1275.0)),
    ("paperworld_c55",
     ["Paper World", "Credit note number 55", "Date 2024-04-04", "Three boxes returned -26.70", "Total EUR -26.70"],
     "55", "2024-04-04", "Paper World", "EUR", ("Three boxes returned", None, -26.7)),
]


def write_truth(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{path}: {len(rows)} invoices")


def page(path, lines):
    """One A5 page; the text stands in the order of the lines."""
    from reportlab.pdfgen import canvas
    width, height = 419.53, 595.28
    sheet = canvas.Canvas(path, pagesize=(width, height), invariant=1)
    y = height - 60
    for at, line in enumerate(lines):
        sheet.setFont("Helvetica-Bold" if at == 0 else "Helvetica", 14 if at == 0 else 10)
        parts = line.split("|")
        stops = [45] if len(parts) == 1 else [45 + i * (width - 90) / (len(parts) - 1) for i in range(len(parts))]
        for part, x in zip(parts, stops):
            (sheet.drawRightString if x > 45 else sheet.drawString)(x, y, part)
        y -= 26 if at == 0 else 18
    sheet.showPage()
    sheet.save()


def samples():
    folder, truth = os.path.join(SAMPLES, "invoices"), os.path.join(SAMPLES, "truth", "invoices")
    for path in (folder, truth):
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
    rows = []
    for name, lines, number, date, vendor, currency, (text, quantity, amount) in SAMPLE:
        page(os.path.join(folder, name + ".pdf"), lines)
        item = {"text": text, "amount": amount} if quantity is None else {"text": text, "quantity": quantity, "amount": amount}
        rows.append({"file": name + ".pdf", "number": number, "date": date, "vendor": vendor, "lines": [item],
                     "total": amount, "currency": currency})
    write_truth(os.path.join(truth, "truth.jsonl"), sorted(rows, key=lambda row: row["file"]))


def batch(out, count, seed, layouts):
    """The invoices of make_batch.py. Its truth names no vendor, so the first words that it draws on a page are noted."""
    import make_batch
    os.makedirs(out, exist_ok=True)
    firsts = []

    class Noting(make_batch.Doc):
        def __init__(self, path, page):
            super().__init__(path, page)
            self.is_new = True

        def text(self, x, y, s, *args, **named):
            if self.is_new:
                firsts.append(s)
            self.is_new = False
            super().text(x, y, s, *args, **named)

    make_batch.Doc = Noting
    rows = []
    with tempfile.TemporaryDirectory() as made:
        os.makedirs(os.path.join(made, "pdf"))
        for number in range(1, count + 1):
            about, records, _ = make_batch.make((number, made, seed, layouts.split(","), False, 0.0))
            name = os.path.basename(about[0])
            shutil.copyfile(os.path.join(made, about[0]), os.path.join(out, name))
            # file, kind, number, date, currency, line, item, text, quantity, unit price, amount
            lines = [{"text": r[7], "quantity": r[8], "amount": float(r[10])} for r in records]
            rows.append({"file": name, "number": records[0][2], "date": records[0][3], "vendor": firsts[-1], "lines": lines,
                         "total": float(about[5]), "currency": records[0][4]})
    write_truth(os.path.join(out, "truth.jsonl"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("samples")
    more = kinds.add_parser("batch")
    more.add_argument("out")
    more.add_argument("--count", type=int, default=30)
    more.add_argument("--seed", type=int, default=6)
    more.add_argument("--layouts", default="ruled,hlines,euro")
    given = parser.parse_args()
    if given.kind == "samples":
        samples()
    else:
        batch(given.out, given.count, given.seed, given.layouts)


if __name__ == "__main__":
    main()
