extension Asset {
    /// One style sheet for all pages: light and dark, down to the width of a phone. Colours of text stand at least 4.5 to 1
    /// against their ground, those of charts at least 3 to 1 (WCAG 2.2 §1.4.3, §1.4.11).
    static let styleText = """
        :root{color-scheme:light dark;--ground:#fbfaf7;--panel:#fff;--text:#1d2126;--soft:#565d66;--line:#d9d6ce;--link:#1f4f8f;
        --good:#1c6b3a;--wait:#8a5200;--bad:#b3261e;--good-ground:#e2f2e6;--wait-ground:#fbeed6;--bad-ground:#fbe3e1;--focus:#1f4f8f;
        --c-accept:#2f8a52;--c-hold:#3f74b8;--c-defer:#c07a10;--c-reject:#c5382f;--c-other:#7b6fa8;--grid:#e4e1d9;--axis:#565d66;--button:#eceae4}
        @media (prefers-color-scheme:dark){:root{--ground:#14171b;--panel:#1c2026;--text:#e8e6e1;--soft:#a9b0b9;--line:#363c45;--link:#9dc1f2;
        --good:#8ad6a2;--wait:#f0bf6a;--bad:#ff9e96;--good-ground:#17331f;--wait-ground:#3a2b10;--bad-ground:#431d1a;--focus:#9dc1f2;
        --c-accept:#52b378;--c-hold:#7aa9e6;--c-defer:#e0a243;--c-reject:#ee6a60;--c-other:#a99fd6;--grid:#2b3038;--axis:#a9b0b9;--button:#2a2f37}}
        *{box-sizing:border-box}
        html{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;background:var(--ground);color:var(--text)}
        body{margin:0}
        a{color:var(--link)}
        a:focus-visible,button:focus-visible,input:focus-visible,select:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
        .skip{position:absolute;left:-999px;top:0;background:var(--panel);padding:.5rem 1rem;z-index:2}
        .skip:focus{left:0}
        .top{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem 1.5rem;padding:.6rem 1.2rem;background:var(--panel);border-bottom:1px solid var(--line)}
        .brand{display:flex;align-items:center;gap:.5rem;font-weight:700;font-size:1.1rem;text-decoration:none;color:var(--text)}
        .top ul{display:flex;flex-wrap:wrap;gap:.1rem;list-style:none;margin:0;padding:0}
        .top li a{display:block;padding:.45rem .8rem;border-radius:.4rem;text-decoration:none;color:var(--link)}
        .top li a:hover{text-decoration:underline}
        .top li a[aria-current]{background:var(--button);color:var(--text);font-weight:600}
        main{max-width:76rem;margin:0 auto;padding:1rem 1.2rem 3rem;outline:none}
        main.narrow{max-width:26rem}
        .bottom{border-top:1px solid var(--line);padding:.5rem 1.2rem;color:var(--soft);font-size:.85rem}
        .bottom p{max-width:76rem;margin:0 auto}
        h1{font-size:1.6rem;line-height:1.25;margin:.4rem 0 1rem;overflow-wrap:anywhere}
        h2{font-size:1.15rem;margin:1.8rem 0 .6rem}
        h3{font-size:1rem;margin:1.2rem 0 .4rem}
        p{max-width:50rem}
        p,li,.hint{overflow-wrap:anywhere}
        .lead{font-size:1.05rem}
        .hint{color:var(--soft);font-size:.9rem;margin:.35rem 0}
        .tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.7rem;margin:0}
        .tile{background:var(--panel);border:1px solid var(--line);border-left:4px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
        .tile.good{border-left-color:var(--c-accept)}.tile.wait{border-left-color:var(--c-defer)}.tile.bad{border-left-color:var(--c-reject)}
        .tile dt{color:var(--soft);font-size:.9rem}
        .tile dd{margin:0;font-size:1.45rem;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.3}
        .tile small{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
        .scroll{overflow-x:auto;background:var(--panel);border:1px solid var(--line);border-radius:.5rem}
        table{border-collapse:collapse;width:100%;font-size:.92rem}
        th,td{text-align:left;vertical-align:top;padding:.4rem .7rem;border-top:1px solid var(--line);overflow-wrap:break-word}
        thead th{border-top:0;color:var(--soft);font-weight:600;white-space:nowrap}
        tbody th{font-weight:600}
        td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
        td.t{white-space:nowrap}
        td.long,th.long{overflow-wrap:anywhere;min-width:9.5rem;max-width:24rem}
        tr.fired{background:var(--wait-ground)}
        caption{text-align:left;color:var(--soft);padding:.4rem .7rem;font-size:.9rem}
        .state{display:inline-block;padding:.02rem .5rem;border-radius:.7rem;border:1px solid var(--line);white-space:nowrap;font-size:.88rem;font-weight:600}
        .state.good{background:var(--good-ground);color:var(--good);border-color:transparent}
        .state.wait{background:var(--wait-ground);color:var(--wait);border-color:transparent}
        .state.bad{background:var(--bad-ground);color:var(--bad);border-color:transparent}
        .facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.3rem 1.2rem;margin:0}
        .facts dt{color:var(--soft);font-size:.85rem}
        .facts dd{margin:0 0 .3rem;overflow-wrap:anywhere}
        .causes{padding-left:1.4rem}
        form{margin:0}
        label{display:block;font-weight:600;margin-bottom:.25rem}
        input,select{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--axis);border-radius:.4rem;padding:.45rem .6rem;max-width:100%}
        .row{display:flex;gap:.5rem;flex-wrap:wrap;align-items:end}
        .tight{flex-wrap:nowrap}
        .search input{flex:1 1 16rem;min-width:0}
        button,.button{font:inherit;font-weight:600;color:var(--text);background:var(--button);border:1px solid var(--axis);border-radius:.4rem;padding:.45rem .9rem;cursor:pointer;white-space:nowrap;text-decoration:none;display:inline-block}
        button.main{background:#1f5c37;border-color:#1f5c37;color:#fff}
        button.danger{color:var(--bad);border-color:var(--bad)}
        button.small{padding:.15rem .55rem;font-size:.88rem}
        .actions{display:flex;flex-direction:column;gap:.6rem}
        .done,.failed{padding:.6rem .9rem;border-radius:.4rem;max-width:none}
        .done{background:var(--good-ground);color:var(--good)}
        .failed{background:var(--bad-ground);color:var(--bad)}
        .done form{display:inline}
        .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:.9rem}
        figure{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .7rem}
        figcaption{font-weight:600;font-size:.95rem}
        figure svg{display:block;width:100%;height:auto}
        .legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.2rem 0 0;padding:0;font-size:.85rem;color:var(--soft)}
        .legend svg{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem;vertical-align:-.05rem}
        .k-accept{fill:var(--c-accept)}.k-hold{fill:var(--c-hold)}.k-defer{fill:var(--c-defer)}.k-reject{fill:var(--c-reject)}.k-other{fill:var(--c-other)}
        .l-other{fill:none;stroke:var(--c-other);stroke-width:2}.l-hold{fill:none;stroke:var(--c-hold);stroke-width:2}
        .grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--axis);stroke-width:1}
        svg text{fill:var(--axis);font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
        .tabs{display:flex;flex-wrap:wrap;gap:.3rem;list-style:none;margin:0 0 .7rem;padding:0}
        .tabs a{display:block;padding:.25rem .7rem;border:1px solid var(--line);border-radius:1rem;text-decoration:none}
        .tabs a[aria-current]{background:var(--button);color:var(--text);font-weight:600}
        details{margin-top:.4rem;font-size:.9rem}
        summary{cursor:pointer;color:var(--link)}
        code{font-size:.92em}
        @media (max-width:36rem){main{padding:.7rem .8rem 2rem}.top{padding:.5rem .8rem}.tiles{grid-template-columns:repeat(2,1fr);gap:.5rem}
        .tile dd{font-size:1.2rem}th,td{padding:.35rem .5rem}.facts{grid-template-columns:1fr}}
        @media (prefers-reduced-motion:no-preference){.tile [data-key].changed{animation:changed 1s}}
        @keyframes changed{from{background:var(--wait-ground)}}
        """
}
