// Tables sort by a click on a heading. Without script they stand in program order.
// (No ampersand and no "less than" here: the page is XML, too.)
for (const table of document.querySelectorAll('table.sortable')) {
  table.querySelectorAll('th').forEach((heading, column) => {
    const value = row => {
      const cell = row.cells[column], exact = cell.dataset.v;
      if (exact === undefined) return cell.textContent;
      if (exact === '') return -Infinity;
      return exact === 'inf' ? Infinity : parseFloat(exact);
    };
    const compare = (one, other) => {
      const a = value(one), b = value(other);
      if (typeof a === 'string') return a.localeCompare(b, undefined, {numeric: true});
      return a === b ? 0 : a > b ? 1 : -1;
    };
    const sort = () => {
      const numbers = heading.classList.contains('n');
      const was = heading.getAttribute('aria-sort');
      const down = was === null ? numbers : was === 'ascending';
      const body = table.tBodies[0], rows = [...body.rows].sort(compare);
      table.querySelectorAll('th').forEach(each => each.removeAttribute('aria-sort'));
      heading.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      body.append(...(down ? rows.reverse() : rows));
    };
    heading.tabIndex = 0;
    heading.addEventListener('click', sort);
    heading.addEventListener('keydown', event => {
      if (event.key === 'Enter') sort();
    });
  });
}
