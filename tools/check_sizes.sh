#!/usr/bin/env bash
# No source file is over 500 lines: past that it does more than one thing. What is built is no source.
set -euo pipefail

limit=500
status=0
while IFS= read -r -d '' file; do
    [ -f "$file" ] || continue
    lines=$(wc -l <"$file")
    if [ "$lines" -gt "$limit" ]; then
        echo "$file has $lines lines, more than $limit" >&2
        status=1
    fi
done < <(git ls-files -z -- '*.py' '*.ts' '*.tsx' '*.js' '*.mjs' '*.css' '*.html' '*.sh' ':!gateway/web/static/demo')
exit "$status"
