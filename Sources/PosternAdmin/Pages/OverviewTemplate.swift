extension Template {
    static let overview = """
        <h1>Overview</h1>
        <section aria-labelledby="now">
        <h2 id="now">Now</h2>
        <dl class="tiles" data-live="/live">
        {{#tiles}}<div class="tile {{tone}}"><dt>{{name}}</dt><dd><span data-key="{{key}}">{{value}}</span>{{#unit}} <small>{{unit}}</small>{{/unit}}</dd></div>
        {{/tiles}}</dl>
        </section>
        <section aria-labelledby="course">
        <h2 id="course">The last {{spanName}}</h2>
        <ul class="tabs">{{#spans}}<li><a href="/?span={{value}}"{{#current}} aria-current="true"{{/current}}>{{name}}</a></li>{{/spans}}</ul>
        <div class="charts" data-refresh="/charts?span={{span}}">{{{charts}}}</div>
        </section>
        <section aria-labelledby="health">
        <h2 id="health">Health</h2>
        <div class="scroll" role="region" aria-labelledby="health" tabindex="0">
        <table>
        <thead><tr><th scope="col">Part</th><th scope="col">State</th><th scope="col">What it says</th></tr></thead>
        <tbody>
        {{#health}}<tr><th scope="row">{{part}}</th><td><span class="state {{tone}}">{{state}}</span></td><td>{{detail}}</td></tr>
        {{/health}}</tbody>
        </table>
        </div>
        </section>
        """

    static let find = """
        <h1>Find</h1>
        <form class="search" method="get" action="/find" role="search">
        <label for="q">Address, sender, recipient or reference</label>
        <div class="row"><input id="q" name="q" type="search" value="{{query}}" autocomplete="off" spellcheck="false" maxlength="1000">
        <button type="submit">Find</button></div>
        <p class="hint">A part is enough. The reference stands in the reply that the sender got, and in the log.</p>
        </form>
        <section aria-labelledby="results">
        <h2 id="results">{{heading}}</h2>
        {{^rows}}<p>{{nothing}}</p>{{/rows}}
        {{#hasRows}}<div class="scroll" role="region" aria-labelledby="results" tabindex="0">
        <table>
        <thead><tr><th scope="col">Time</th><th scope="col">Verdict</th><th scope="col">From</th><th scope="col">To</th><th scope="col">Client</th><th scope="col">Why</th></tr></thead>
        <tbody>
        {{#rows}}<tr><td class="t"><a href="/find/{{reference}}">{{time}}</a></td><td><span class="state {{tone}}">{{verdict}}</span></td><td class="long">{{sender}}</td><td class="long">{{recipient}}</td><td class="long">{{client}}</td><td>{{why}}</td></tr>
        {{/rows}}</tbody>
        </table>
        </div>{{/hasRows}}
        {{#more}}<p class="hint">{{more}}</p>{{/more}}
        </section>
        """

    static let decision = """
        <p><a href="/find">Find another</a></p>
        <h1>Decision {{reference}}</h1>
        <p class="lead"><span class="state {{tone}}">{{verdict}}</span> {{outlook}}</p>
        <dl class="facts">
        {{#facts}}<div><dt>{{name}}</dt><dd>{{value}}</dd></div>
        {{/facts}}</dl>
        <section aria-labelledby="why">
        <h2 id="why">Why, at that time</h2>
        <ol class="causes">
        {{#causes}}<li>{{.}}</li>
        {{/causes}}</ol>
        </section>
        <section aria-labelledby="do">
        <h2 id="do">What to do about it</h2>
        <div class="actions">
        {{#actions}}<form method="post" action="/act">
        <input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="reference" value="{{reference}}">
        <input type="hidden" name="action" value="{{action}}"><input type="hidden" name="subject" value="{{subject}}">
        <button type="submit" class="{{tone}}">{{label}}</button> <span class="hint">{{hint}}</span>
        </form>
        {{/actions}}</div>
        </section>
        {{#explained}}<section aria-labelledby="today">
        <h2 id="today">What would happen now</h2>
        <p><span class="state {{tone}}">{{verdict}}</span> {{outlook}}</p>
        <div class="scroll" role="region" aria-labelledby="today" tabindex="0">
        <table>
        <thead><tr><th scope="col">Check</th><th scope="col">Mode</th><th scope="col">Fired</th><th scope="col">Adds</th><th scope="col">Evidence</th></tr></thead>
        <tbody>
        {{#checks}}<tr{{#fired}} class="fired"{{/fired}}><th scope="row">{{check}}</th><td>{{mode}}</td><td>{{#fired}}yes{{/fired}}{{^fired}}no{{/fired}}</td><td>{{added}}</td><td class="long">{{evidence}}</td></tr>
        {{/checks}}</tbody>
        <tfoot><tr><th scope="row">Score</th><td></td><td></td><td>{{score}}</td><td></td></tr></tfoot>
        </table>
        </div>
        {{#hasFacts}}<h3>What was looked up</h3>
        <dl class="facts">
        {{#facts}}<div><dt>{{name}}</dt><dd>{{value}}</dd></div>
        {{/facts}}</dl>{{/hasFacts}}
        {{#hasLimits}}<h3 id="left">What is left of its limits</h3>
        <div class="scroll" role="region" aria-labelledby="left" tabindex="0">
        <table>
        <thead><tr><th scope="col">Limit</th><th scope="col">Of</th><th scope="col" class="n">Used</th><th scope="col" class="n">Left</th></tr></thead>
        <tbody>
        {{#limits}}<tr><th scope="row">{{limit}}</th><td class="long">{{subject}}</td><td class="n">{{used}}</td><td class="n">{{left}}</td></tr>
        {{/limits}}</tbody>
        </table>
        </div>{{/hasLimits}}
        </section>{{/explained}}
        {{#unexplained}}<p class="hint">{{unexplained}}</p>{{/unexplained}}
        """
}
