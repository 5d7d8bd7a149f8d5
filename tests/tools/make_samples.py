#!/usr/bin/env python3
"""Make the sample folders plans/samples/january and plans/samples/february with their truth.

    python3 tests/tools/make_samples.py        (from the repository's top; needs reportlab and pillow)

January: 20 generated files and three US government reports. February: 20 other generated files, one scan without
text, two broken files. What a run must find is written to plans/samples/truth/<month>/: truth_records.csv and
truth_files.csv as make_batch.py writes them, with the files' names and the column table_rows (rows of all tables of
the file, headers not counted).
"""
import csv, io, json, os, shutil, subprocess, sys, tempfile

TOOLS = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(TOOLS))
SAMPLES = os.path.join(TOP, "plans", "samples")
REPORTS = ["us-004", "us-005", "us-038"]
MONTHS = {"january": (31, "ruled,hlines,statement,twin", 101), "february": (28, "ruled,hlines,statement,euro", 201)}


def data_rows(table):
    heads = 2 if any(c["rs"] > 1 or c["cs"] > 1 for c in table["cells"]) else 1
    return len(table["rows"]) - heads


def month(name, seed, layouts, first):
    out, truth = os.path.join(SAMPLES, name), os.path.join(SAMPLES, "truth", name)
    for d in (out, truth):
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d)
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.check_call([sys.executable, os.path.join(TOOLS, "make_batch.py"), tmp, "--count", "20", "--seed", str(seed), "--layouts", layouts])
        names = {}
        for k in ("files", "records"):
            rows = list(csv.DictReader(open(os.path.join(tmp, "truth_%s.csv" % k), newline="", encoding="utf-8")))
            for r in rows:
                old = r["file"]
                if k == "files":
                    kind = "statement" if r["layout"] == "statement" else "invoice"
                    names[old] = "%s_%04d.pdf" % (kind, first + len(names))
                    doc = json.load(open(os.path.join(tmp, os.path.basename(old)[:-4] + ".truth.json"), encoding="utf-8"))
                    r["table_rows"] = sum(data_rows(t) for t in doc["tables"])
                    shutil.copyfile(os.path.join(tmp, old), os.path.join(out, names[old]))
                r["file"] = names[old]
            with open(os.path.join(truth, "truth_%s.csv" % k), "w", newline="", encoding="utf-8") as f:
                w = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
                w.writeheader()
                w.writerows(rows)
    return out


def scan(path):
    """One page that is a picture: an invoice as a scanner would give it."""
    from PIL import Image, ImageDraw, ImageFont
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas
    page = Image.new("L", (827, 1169), 244)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    lines = ["Orchard & Vale", "INVOICE  No. INV-004711", "", "#   Item      Qty   Unit price   Amount"]
    lines += ["%d   B-%04d   %3d       %7.2f  %8.2f" % (i, 1000 + 37 * i, 3 * i, 4.25 * i, 12.75 * i * i) for i in range(1, 9)]
    for i, line in enumerate(lines):
        draw.text((90, 110 + 34 * i), line, fill=40, font=font)
    page = page.rotate(0.7, fillcolor=244)
    data = io.BytesIO()
    page.save(data, "JPEG", quality=55)
    c = canvas.Canvas(path, pagesize=(595.28, 841.89), invariant=1)
    c.drawImage(ImageReader(io.BytesIO(data.getvalue())), 0, 0, 595.28, 841.89)
    c.showPage()
    c.save()


def main():
    for name, (seed, layouts, first) in MONTHS.items():
        out = month(name, seed, layouts, first)
        if name == "january":
            for r in REPORTS:
                shutil.copyfile(os.path.join(TOP, "tests/fixtures/pdf_tables/cases", "icdar_%s.pdf" % r), os.path.join(out, "report_%s.pdf" % r))
        else:
            scan(os.path.join(out, "invoice_0221.pdf"))
            good = open(os.path.join(out, "invoice_0201.pdf"), "rb").read()
            # A copy that stopped early: the header and the first objects, no page and no table of objects.
            open(os.path.join(out, "invoice_0222.pdf"), "wb").write(good[:len(good) // 4])
            # A download that was an error page.
            open(os.path.join(out, "invoice_0223.pdf"), "wb").write(b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>\n")


if __name__ == "__main__":
    main()
