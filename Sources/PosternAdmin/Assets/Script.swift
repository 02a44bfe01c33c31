extension Asset {
    /// All that pages do by themselves: take new numbers each second, new charts each half minute, new tables of who is limited each five
    /// seconds. Without it they are as
    /// of when they were loaded.
    static let scriptText = #"""
        "use strict";
        (() => {
          const group = value => String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
          const span = seconds => {
            if (seconds < 120) return `${seconds} s`;
            const minutes = Math.ceil(seconds / 60);
            if (seconds < 7200) return `${minutes} min`;
            if (seconds < 172800) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
            return `${Math.ceil(seconds / 86400)} d`;
          };
          const shown = (key, value) => key === "mean_delay_seconds" ? span(value) : key === "hours_wasted" ? value.toFixed(1) : group(value);
          const tiles = document.querySelector("[data-live]");
          if (tiles && window.EventSource) {
            const source = new EventSource(tiles.dataset.live);
            source.addEventListener("now", event => {
              const now = JSON.parse(event.data);
              for (const place of tiles.querySelectorAll("[data-key]")) {
                const value = now[place.dataset.key];
                if (value === undefined) continue;
                const text = shown(place.dataset.key, value);
                if (place.textContent === text) continue;
                place.textContent = text;
                place.classList.remove("changed");
                void place.offsetWidth;
                place.classList.add("changed");
              }
            });
            addEventListener("pagehide", () => source.close());
          }
          const charts = document.querySelector("[data-refresh]");
          if (charts) {
            setInterval(async () => {
              // Nothing is taken from under somebody's hands.
              if (document.hidden || charts.contains(document.activeElement) || charts.matches(":hover")) return;
              try {
                const response = await fetch(charts.dataset.refresh, { headers: { Accept: "text/html" } });
                if (!response.ok) return;
                const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
                charts.replaceChildren(...fresh.body.childNodes);
              } catch { /* The next one may come through. */ }
            }, 1000 * Number(charts.dataset.every || 30));
          }
        })();
        """#
}
