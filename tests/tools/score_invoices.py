#!/usr/bin/env python3
"""Compares the rows of `plans/invoices.yaml` with a truth, and holds the rows against the plan's own checks.

    python3 score_invoices.py --database invoices.db --truth truth.jsonl --texts FOLDER
    python3 score_invoices.py --answers answers.jsonl --truth truth.jsonl --texts FOLDER

Prints one JSON object and ends with 0, or with 1 when a row of the table fails a check (`rows_that_fail_a_check`), names a
file that the truth does not know, or stands twice: then something reached the table that must not. Standard library only.

--database  the SQLite file; tables `invoices` (number, date, vendor, total, _file) and `invoice_lines` (text, amount, _file, _row)
--answers   instead: one JSON line for each answer, {"file": …, "answer": {number, date, vendor, lines, total}}; all count as rows
--truth     as make_invoices.py writes it; several may be given. A file is known by its name, its folder does not count
--texts     folder with NAME.json for each NAME.pdf, as `ollmcp call pdf_extract.extract_text path=NAME.pdf --json` prints it;
            without it, whether number and vendor occur in the text is not looked at

Per field: `right`, `wrong`, `missing`, over the rows that are there. Vendor compares without case. Lines are right when there are
as many as in the truth and all amounts are, in their order; their texts are not compared. `all_right` wants number, date,
lines and total. `passed_but_wrong` are rows that pass all checks and are not all right: what the checks cannot see.
"""
import argparse
import collections
import datetime
import json
import os
import sqlite3
import sys

FIELDS = ("number", "date", "vendor", "lines", "total")
SCORED = ("number", "date", "lines", "total")
CENT = 0.005


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same_amount(found, wanted):
    return is_number(found) and abs(found - wanted) < CENT


def amounts(answer):
    lines = answer.get("lines")
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        return None
    return [line.get("amount") for line in lines]


def verdict(field, answer, truth):
    found = amounts(answer) if field == "lines" else answer.get(field)
    if found is None or found == "" or found == []:
        return "missing"
    if field == "lines":
        wanted = [line["amount"] for line in truth["lines"]]
        is_right = len(found) == len(wanted) and all(map(same_amount, found, wanted))
    elif field == "total":
        is_right = same_amount(found, truth["total"])
    elif field == "vendor":
        is_right = str(found).strip().lower() == truth["vendor"].lower()
    else:
        is_right = str(found) == truth[field]
    return "right" if is_right else "wrong"


def is_date(text):
    try:
        return len(text) == 10 and datetime.date.fromisoformat(text) is not None
    except (TypeError, ValueError):
        return False


def broken_checks(answer, text):
    """The checks of plans/invoices.yaml, by another hand."""
    broken = []
    if not is_date(answer.get("date")):
        broken.append("the date is no date")
    found = amounts(answer)
    total = answer.get("total")
    if not found or not all(map(is_number, found)) or not is_number(total) or abs(sum(found) - total) >= CENT:
        broken.append("the lines do not add up to the total")
    if text is not None:
        number, vendor = str(answer.get("number") or ""), str(answer.get("vendor") or "")
        if not number or number not in text:
            broken.append("the number does not occur in the text")
        if number in (answer.get("date"), vendor):
            broken.append("the number is the date or the vendor")
        if not vendor or " ".join(vendor.lower().split()) not in " ".join(text.lower().split()):
            broken.append("the vendor does not occur in the text")
    return broken


def from_database(path):
    """(file, answer) for each row of `invoices`, its lines from `invoice_lines`."""
    if not os.path.exists(path):
        return []
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    tables = {row[0] for row in database.execute("select name from sqlite_master where type = 'table'")}
    lines = collections.defaultdict(list)
    if "invoice_lines" in tables:
        for row in database.execute("select * from invoice_lines order by _file, _table, _row"):
            lines[row["_file"]].append({key: row[key] for key in row.keys() if not key.startswith("_")})
    rows = []
    if "invoices" in tables:
        for row in database.execute("select * from invoices order by _file"):
            answer = {key: row[key] for key in row.keys() if not key.startswith("_")}
            # A column of nothing but digits is a column of integers.
            answer["number"] = None if answer.get("number") is None else str(answer["number"])
            rows.append((row["_file"], dict(answer, lines=lines[row["_file"]])))
    return rows


def from_answers(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["file"], row["answer"] if isinstance(row["answer"], dict) else {}


def text_of(folder, name):
    if folder is None:
        return None
    with open(os.path.join(folder, os.path.splitext(name)[0] + ".json"), encoding="utf-8") as file:
        return "\n".join(json.load(file)["text"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--database", metavar="FILE")
    source.add_argument("--answers", metavar="FILE")
    parser.add_argument("--truth", metavar="FILE", required=True, action="append")
    parser.add_argument("--texts", metavar="FOLDER")
    given = parser.parse_args()

    truth = {}
    for path in given.truth:
        with open(path, encoding="utf-8") as file:
            truth.update((row["file"], row) for row in map(json.loads, file))
    rows = [(os.path.basename(file or ""), answer)
            for file, answer in (from_database(given.database) if given.database else from_answers(given.answers))]

    fields = {field: collections.Counter(right=0, wrong=0, missing=0) for field in FIELDS}
    files = collections.Counter(name for name, _ in rows)
    report = {"invoices": len(truth), "rows": len(rows), "all_right": [], "passed_but_wrong": {}, "fields": fields,
              "rows_that_fail_a_check": {}, "unknown_files": sorted(name for name in files if name not in truth),
              "files_with_several_rows": sorted(name for name, count in files.items() if count > 1),
              "files_without_a_row": sorted(set(truth) - set(files))}
    for name, answer in rows:
        if name not in truth:
            continue
        seen = {field: verdict(field, answer, truth[name]) for field in FIELDS}
        for field, word in seen.items():
            fields[field][word] += 1
        broken = broken_checks(answer, text_of(given.texts, name))
        wrong = {field: answer.get(field) for field in SCORED if seen[field] != "right"}
        if broken:
            report["rows_that_fail_a_check"][name] = broken
        if not wrong:
            report["all_right"].append(name)
        elif not broken:
            report["passed_but_wrong"][name] = wrong
    report["all_right_count"] = len(report["all_right"])
    report["passed_count"] = len(rows) - len(report["rows_that_fail_a_check"]) - len(report["unknown_files"])
    json.dump(report, sys.stdout, indent=1, ensure_ascii=False)
    print()
    is_clean = not (report["rows_that_fail_a_check"] or report["unknown_files"] or report["files_with_several_rows"])
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
