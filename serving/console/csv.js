// A table as people paste it: from a spreadsheet (tabs), or as CSV with commas or semicolons, with a header.

/** The header and the rows of a text, each a list of cells; an Error says which line is wrong. */
export function parseTable(text) {
  const lines = cells(text.replace(/^\uFEFF/, ""), delimiterOf(text)).filter((row) => row.some((cell) => cell.trim()));
  if (!lines.length) throw new Error("The table is empty: paste a header and one row or more");
  const [header, ...rows] = lines;
  if (!rows.length) throw new Error("The table has a header but no rows");
  rows.forEach((row, place) => {
    if (row.length !== header.length) {
      throw new Error(`Row ${place + 1} has ${row.length} cells where the header has ${header.length}`);
    }
  });
  return { header: header.map((name) => name.trim()), rows };
}

function delimiterOf(text) {
  const first = text.split("\n", 1)[0];
  return ["\t", ";", ","].find((delimiter) => first.includes(delimiter)) ?? ",";
}

function cells(text, delimiter) {
  const rows = [[]];
  let [cell, quoted] = ["", false];
  for (let place = 0; place < text.length; place += 1) {
    const character = text[place];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[place + 1] === '"') {
        cell += '"';
        place += 1;
      } else quoted = false;
    } else if (character === '"' && !cell) quoted = true;
    else if (character === delimiter || character === "\n") {
      rows.at(-1).push(cell);
      cell = "";
      if (character === "\n") rows.push([]);
    } else if (character !== "\r") cell += character;
  }
  rows.at(-1).push(cell);
  return rows;
}
