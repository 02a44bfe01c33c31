extension Template {
    static let lists = """
        <h1>Lists</h1>
        <section aria-labelledby="add">
        <h2 id="add">Add an entry</h2>
        <form method="post" action="/lists">
        <input type="hidden" name="form_token" value="{{token}}">
        <div class="row">
        <div><label for="entry">Address, network, domain or mailbox</label><input id="entry" name="entry" required maxlength="320" autocomplete="off" spellcheck="false"></div>
        <div><label for="list">List</label><select id="list" name="list"><option value="allow">allowed</option><option value="block">blocked</option><option value="trap">trap</option></select></div>
        <div><label for="kind">Kind</label><select id="kind" name="kind"><option value="">what it looks like</option><option value="client">client</option><option value="sender">sender</option><option value="recipient">recipient</option></select></div>
        <div><label for="for">How long</label><select id="for" name="for"><option value="ever">for good</option><option value="1d">a day</option><option value="7d">a week</option><option value="30d">30 days</option></select></div>
        <div><label for="note">Note</label><input id="note" name="note" maxlength="200" autocomplete="off"></div>
        <button type="submit" class="main">Add</button>
        </div>
        <p class="hint">An address or network is a client; a domain or mailbox a sender, whose mail counts as allowed only where SPF passes. A trap is a mailbox or domain of yours that nobody should write to.</p>
        </form>
        </section>
        {{#sections}}<section aria-labelledby="{{list}}">
        <h2 id="{{list}}">{{heading}}</h2>
        {{^hasRows}}<p>Nothing is {{#list}}on this list{{/list}}.</p>{{/hasRows}}
        {{#hasRows}}<p class="hint">{{count}} in all. <a href="/lists/export/{{list}}">Export as CSV</a></p>
        <div class="scroll" role="region" aria-labelledby="{{list}}" tabindex="0">
        <table>
        <thead><tr><th scope="col">Entry</th><th scope="col">As</th><th scope="col">Until</th><th scope="col">Added</th><th scope="col">Note</th><th scope="col">Change</th></tr></thead>
        <tbody>
        {{#rows}}<tr><th scope="row" class="long">{{entry}}</th><td>{{kind}}</td><td class="t">{{until}}</td><td class="t">{{added}}</td><td>{{note}}{{#source}} <small>{{source}}</small>{{/source}}</td><td>
        {{#canChange}}<form method="post" action="/lists" class="row tight"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="list" value="{{list}}"><input type="hidden" name="kind" value="{{kind}}"><input type="hidden" name="entry" value="{{entry}}"><input type="hidden" name="note" value="{{note}}"><input type="hidden" name="for" value="30d">
        <button type="submit" name="do" value="extend" class="small" aria-label="Keep {{entry}} for 30 days from now">30 days</button>
        <button type="submit" name="do" value="remove" class="small danger" aria-label="Remove {{entry}}">Remove</button></form>{{/canChange}}</td></tr>
        {{/rows}}</tbody>
        </table>
        </div>{{#more}}<p class="hint">{{more}}</p>{{/more}}{{/hasRows}}
        </section>
        {{/sections}}
        """

    static let changes = """
        <h1>Changes</h1>
        <p>What was changed here and on the command line, the latest first.</p>
        {{^hasRows}}<p>Nothing was changed yet.</p>{{/hasRows}}
        {{#hasRows}}<div class="scroll" role="region" aria-label="Changes" tabindex="0">
        <table>
        <thead><tr><th scope="col">Time</th><th scope="col">By</th><th scope="col">What</th><th scope="col">Undo</th></tr></thead>
        <tbody>
        {{#rows}}<tr><td class="t">{{time}}</td><td class="t">{{who}}</td><td class="long">{{what}}</td><td>{{#undone}}{{undone}}{{/undone}}{{#can}}<form method="post" action="/undo"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="change" value="{{id}}"><button type="submit" class="small" aria-label="Undo: {{what}}">Undo</button></form>{{/can}}</td></tr>
        {{/rows}}</tbody>
        </table>
        </div>{{/hasRows}}
        """

    static let waiting = """
        <h1>Waiting</h1>
        <p>Mail that was deferred and has not come back in time yet, the latest attempt first.</p>
        {{^hasRows}}<p>Nothing waits.</p>{{/hasRows}}
        {{#hasRows}}<div class="scroll" role="region" aria-label="Waiting" tabindex="0">
        <table>
        <thead><tr><th scope="col">From</th><th scope="col">To</th><th scope="col">Client</th><th scope="col">Since</th><th scope="col" class="n">Attempts</th><th scope="col">Passes</th><th scope="col">Change</th></tr></thead>
        <tbody>
        {{#rows}}<tr><td class="long"><a href="/find/{{reference}}">{{sender}}</a></td><td class="long">{{recipient}}</td><td class="long">{{client}}</td><td class="t">{{since}}</td><td class="n">{{tries}}</td><td><span class="state {{tone}}">{{passes}}</span></td><td>
        <form method="post" action="/act"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="reference" value="{{reference}}"><input type="hidden" name="action" value="pass"><button type="submit" class="small" aria-label="Let through from {{sender}} to {{recipient}}">Let through</button></form></td></tr>
        {{/rows}}</tbody>
        </table>
        </div>{{/hasRows}}
        {{#more}}<p class="hint">{{more}}</p>{{/more}}
        """

    static let traps = """
        <h1>Traps</h1>
        <p>What false mail servers have cost their clients since the start, and whom they have put on lists.</p>
        <dl class="tiles" data-live="/live">
        {{#tiles}}<div class="tile {{tone}}"><dt>{{name}}</dt><dd><span data-key="{{key}}">{{value}}</span> <small>{{unit}}</small></dd></div>
        {{/tiles}}</dl>
        <section aria-labelledby="listeners">
        <h2 id="listeners">Listeners</h2>
        {{^hasRows}}<p>There is no listener with role trap.</p>{{/hasRows}}
        {{#hasRows}}<div class="scroll" role="region" aria-labelledby="listeners" tabindex="0">
        <table>
        <thead><tr><th scope="col">Trap</th><th scope="col">Mode</th><th scope="col" class="n">Held now</th><th scope="col" class="n">Ever</th><th scope="col" class="n">Hours wasted</th><th scope="col" class="n">Sent for that</th><th scope="col" class="n">Seconds a byte</th><th scope="col" class="n">Let go, not listed</th><th scope="col" class="n">Let go, full</th><th scope="col" class="n">Put off</th><th scope="col" class="n">Left without QUIT</th><th scope="col" class="n">Thrown away</th></tr></thead>
        <tbody>
        {{#rows}}<tr><th scope="row">{{name}}</th><td>{{mode}}</td><td class="n">{{now}}</td><td class="n">{{ever}}</td><td class="n">{{hours}}</td><td class="n">{{bytes}}</td><td class="n">{{rate}}</td><td class="n">{{gone}}</td><td class="n">{{shed}}</td><td class="n">{{deferred}}</td><td class="n">{{rude}}</td><td class="n">{{discarded}}</td></tr>
        {{/rows}}</tbody>
        </table>
        </div>{{/hasRows}}
        </section>
        <section aria-labelledby="harvest">
        <h2 id="harvest">Listed by the traps</h2>
        {{#isSearched}}<form class="search" method="get" action="/traps" role="search">
        <label for="q">A part of an address, or a colour</label>
        <div class="row"><input id="q" name="q" type="search" value="{{query}}" autocomplete="off" spellcheck="false" maxlength="100">
        <button type="submit">Show</button></div>
        </form>
        <p class="hint">{{count}} in all. <a href="/traps/export">Export as CSV</a></p>{{/isSearched}}
        {{^hasEntries}}<p>{{nothing}}</p>{{/hasEntries}}
        {{#hasEntries}}<div class="scroll" role="region" aria-labelledby="harvest" tabindex="0">
        <table>
        <thead><tr><th scope="col">Address</th><th scope="col">Colour</th><th scope="col">Why</th><th scope="col" class="n">Evidence</th><th scope="col">Seen at</th><th scope="col">Since</th><th scope="col">Until</th><th scope="col">Change</th></tr></thead>
        <tbody>
        {{#entries}}<tr><th scope="row" class="long">{{entry}}</th><td><span class="state {{tone}}">{{colour}}</span></td><td>{{why}}</td><td class="n">{{evidence}}</td><td>{{seen}}</td><td class="t">{{added}}</td><td class="t">{{until}}</td><td>
        <form method="post" action="/traps" class="row tight"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="entry" value="{{entry}}">
        <button type="submit" name="do" value="extend" class="small" aria-label="Keep {{entry}} listed for 30 days from now">30 days</button>
        <button type="submit" name="do" value="remove" class="small danger" aria-label="Take {{entry}} off for good">Remove</button></form></td></tr>
        {{/entries}}</tbody>
        </table>
        </div>{{/hasEntries}}
        {{#more}}<p class="hint">{{more}}</p>{{/more}}
        </section>
        """

    static let effect = """
        <h1>Effect</h1>
        <ul class="tabs">{{#spans}}<li><a href="/effect?since={{value}}"{{#current}} aria-current="true"{{/current}}>{{name}}</a></li>{{/spans}}</ul>
        <p class="hint">{{period}}</p>
        <section aria-labelledby="outcome">
        <h2 id="outcome">What became of the mail</h2>
        <dl class="tiles">
        {{#tiles}}<div class="tile {{tone}}"><dt>{{name}}</dt><dd>{{value}}{{#unit}} <small>{{unit}}</small>{{/unit}}</dd></div>
        {{/tiles}}</dl>
        </section>
        {{#delay}}<section aria-labelledby="delays">
        <h2 id="delays">How long delayed mail waited</h2>
        <dl class="tiles">
        {{#rows}}<div class="tile"><dt>{{name}}</dt><dd>{{value}}</dd></div>
        {{/rows}}</dl>
        </section>{{/delay}}
        {{#tables}}<section aria-labelledby="{{id}}">
        <h2 id="{{id}}">{{title}}</h2>
        {{#hint}}<p class="hint">{{hint}}</p>{{/hint}}
        {{^hasRows}}<p>Nothing in this time.</p>{{/hasRows}}
        {{#hasRows}}<div class="scroll" role="region" aria-labelledby="{{id}}" tabindex="0">
        <table>
        <thead><tr>{{#columns}}<th scope="col"{{#numeric}} class="n"{{/numeric}}>{{name}}</th>{{/columns}}</tr></thead>
        <tbody>
        {{#rows}}<tr><th scope="row">{{name}}</th>{{#cells}}<td class="n">{{.}}</td>{{/cells}}</tr>
        {{/rows}}</tbody>
        </table>
        </div>{{/hasRows}}
        </section>
        {{/tables}}
        """
}
