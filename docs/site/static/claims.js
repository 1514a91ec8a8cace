// Filters of the table of claims: rows whose verdict and text match stay; without scripts all do.
document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("claim-filters");
  const table = place && place.parentElement.querySelector("table");
  if (!table) return;
  const heads = [...table.querySelectorAll("thead th")].map((one) => one.textContent.trim());
  const rows = [...table.querySelectorAll("tbody tr")];
  const column = heads.indexOf("verdict");
  // Without the condition that stands behind a "partly".
  const verdictOf = (row) =>
    (row.cells[column].querySelector("strong") || row.cells[column]).textContent.trim();
  const verdicts = [...new Set(rows.map(verdictOf))];
  const label = (words, control) => {
    const box = document.createElement("label");
    box.append(words, control);
    place.append(box);
    return control;
  };
  const verdict = label("Verdict", document.createElement("select"));
  ["all", ...verdicts].forEach((one) => verdict.add(new Option(one, one)));
  const text = label("Claim, data, model or notebook holds", document.createElement("input"));
  text.type = "search";
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  place.append(count);
  const show = () => {
    const wanted = text.value.trim().toLowerCase();
    let left = 0;
    rows.forEach((row) => {
      const kept = (verdict.value === "all" || verdictOf(row) === verdict.value)
        && row.textContent.toLowerCase().includes(wanted);
      row.hidden = !kept;
      left += kept;
    });
    count.textContent = `${left} of ${rows.length} claims`;
  };
  verdict.addEventListener("change", show);
  text.addEventListener("input", show);
  show();
});
