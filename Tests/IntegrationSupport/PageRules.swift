/// What every page has to keep to, so that it can be read by everybody: checked in the browser, on what it really shows.
/// The numbers are of WCAG 2.2.
public enum PageRules {
    /// A JavaScript expression: the list of what is wrong with the page, empty for nothing.
    public static let script = #"""
        (() => {
          const wrong = [];
          const shown = element => { const box = element.getBoundingClientRect(); const style = getComputedStyle(element);
            return box.width > 0 && box.height > 0 && style.visibility !== "hidden" && style.display !== "none"; };
          const what = element => element.outerHTML.replace(/\s+/g, " ").slice(0, 90);
          // 3.1.1 language, 2.4.2 title, 1.4.10 viewport
          if (!document.documentElement.lang) wrong.push("the page has no language");
          if (!document.title.trim()) wrong.push("the page has no title");
          // 1.3.1 structure
          const headings = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].filter(shown);
          if (headings.filter(h => h.tagName === "H1").length !== 1) wrong.push("there is not exactly one h1");
          let level = 0;
          for (const heading of headings) {
            const next = Number(heading.tagName[1]);
            if (next > level + 1) wrong.push(`heading level ${next} after ${level}: ${what(heading)}`);
            if (!heading.textContent.trim()) wrong.push(`an empty heading: ${what(heading)}`);
            level = next;
          }
          if (document.querySelectorAll("main").length !== 1) wrong.push("there is not exactly one main");
          // 4.1.1 / 1.3.1: names are unique
          const ids = new Map();
          for (const element of document.querySelectorAll("[id]")) ids.set(element.id, (ids.get(element.id) || 0) + 1);
          for (const [id, count] of ids) if (count > 1) wrong.push(`the id ${id} stands ${count} times`);
          for (const element of document.querySelectorAll("[aria-labelledby],[aria-describedby]"))
            for (const id of (element.getAttribute("aria-labelledby") || element.getAttribute("aria-describedby")).split(" "))
              if (!document.getElementById(id)) wrong.push(`refers to no element: ${what(element)}`);
          // 1.3.1, 3.3.2 labels
          for (const field of document.querySelectorAll("input:not([type=hidden]),select,textarea"))
            if (!field.labels.length && !field.getAttribute("aria-label")) wrong.push(`no label: ${what(field)}`);
          for (const image of document.querySelectorAll("img"))
            if (!image.hasAttribute("alt")) wrong.push(`no alt: ${what(image)}`);
          for (const control of document.querySelectorAll("a[href],button"))
            if (!(control.getAttribute("aria-label") || control.textContent || (control.querySelector("img") || {}).alt || "").trim())
              wrong.push(`no name: ${what(control)}`);
          for (const head of document.querySelectorAll("table th"))
            if (!head.hasAttribute("scope")) wrong.push(`a table's head has no scope: ${what(head)}`);
          for (const element of document.querySelectorAll("[tabindex]"))
            if (element.tabIndex > 0) wrong.push(`a tab order of its own: ${what(element)}`);
          // 2.1.1: what scrolls can be reached by keyboard
          for (const element of document.querySelectorAll(".scroll"))
            if (element.scrollWidth > element.clientWidth && element.tabIndex < 0) wrong.push(`scrolls, and cannot be reached: ${what(element)}`);
          // 2.5.8 target size
          for (const control of document.querySelectorAll("button,select,input:not([type=hidden])")) {
            const box = control.getBoundingClientRect();
            if (shown(control) && (box.height < 24 || box.width < 24)) wrong.push(`smaller than 24 by 24: ${what(control)}`);
          }
          // 1.4.10 reflow: nothing sticks out
          if (document.documentElement.scrollWidth > innerWidth + 1)
            wrong.push(`the page is ${document.documentElement.scrollWidth} wide, the window ${innerWidth}`);
          // 1.4.3, 1.4.11 contrast
          const parse = text => { const m = text.match(/rgba?\(([^)]+)\)/); if (!m) return [0, 0, 0, 0];
            const p = m[1].split(/[ ,/]+/).map(Number); return [p[0], p[1], p[2], p.length > 3 ? p[3] : 1]; };
          const light = c => { const f = c.slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
          const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3])).concat(1);
          const ground = element => { const layers = [];
            for (let e = element; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) layers.push(c); if (c[3] === 1) break; }
            return layers.reverse().reduce((base, layer) => over(layer, base), [255, 255, 255, 1]); };
          const contrast = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
          const seen = new Set();
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            if (!walker.currentNode.textContent.trim() || seen.has(element) || !shown(element) || element.closest("script,style,.skip")) continue;
            seen.add(element);
            const style = getComputedStyle(element);
            const back = ground(element.closest("svg") ? element.closest("svg").parentElement : element);
            const colour = parse(element.closest("svg") ? style.fill : style.color);
            const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
            const ratio = contrast(over(colour, back), back);
            if (ratio < (size >= 24 || bold && size >= 18.66 ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ${what(element)}`);
          }
          for (const shape of document.querySelectorAll("svg [class^=k-] rect, svg rect[class^=k-], svg [class^=l-]")) {
            const style = getComputedStyle(shape);
            const colour = parse(style.fill !== "none" ? style.fill : style.stroke);
            const ratio = contrast(colour, ground(shape.closest("figure,main")));
            if (ratio < 3) wrong.push(`contrast of a chart ${ratio.toFixed(2)}: ${what(shape)}`);
          }
          // Nothing comes from elsewhere.
          for (const entry of performance.getEntriesByType("resource"))
            if (!entry.name.startsWith(location.origin)) wrong.push(`comes from elsewhere: ${entry.name}`);
          return [...new Set(wrong)];
        })()
        """#

    /// Roles that are of no use without a name.
    public static let named: Set<String> = [
        "button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "image", "img", "table", "navigation", "region",
        "heading",
        "columnheader", "rowheader", "figure", "option", "MenuListPopup",
    ]
    /// Of them those that may do without: a table in a section that is named.
    public static let exempt: Set<String> = ["table", "MenuListPopup", "figure", "columnheader", "rowheader"]
}
