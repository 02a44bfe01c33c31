extension Template {
    static let throttled = """
        <h1>Throttled</h1>
        <p>Clients that send more than a stranger may. Past a limit their replies wait, well past it they are deferred, and who goes on is refused at connect for a while.</p>
        <dl class="tiles" data-live="/live">
        {{#tiles}}<div class="tile {{tone}}"><dt>{{name}}</dt><dd><span data-key="{{key}}">{{value}}</span> <small>{{unit}}</small></dd></div>
        {{/tiles}}</dl>
        <section aria-labelledby="who">
        <h2 id="who">Near a limit, or past it</h2>
        <div data-refresh="/throttled/now" data-every="5">{{{table}}}</div>
        </section>
        <section aria-labelledby="limits">
        <h2 id="limits">Limits</h2>
        {{^hasLimits}}<p>None is set.</p>{{/hasLimits}}
        {{#hasLimits}}<ul>{{#limits}}<li>{{text}}</li>
        {{/limits}}</ul>{{/hasLimits}}
        <dl class="facts">
        {{#facts}}<div><dt>{{name}}</dt><dd>{{value}}</dd></div>
        {{/facts}}</dl>
        </section>
        """

    static let throttledTable = """
        {{^hasRows}}<p>Nobody has used half of a limit.</p>{{/hasRows}}
        {{#hasRows}}<div class="scroll" role="region" aria-labelledby="who" tabindex="0">
        <table>
        <thead><tr><th scope="col">Who</th><th scope="col">State</th><th scope="col">Limit</th><th scope="col" class="n">Used</th><th scope="col" class="n">Left</th><th scope="col">Until</th><th scope="col">Change</th></tr></thead>
        <tbody>
        {{#rows}}<tr><th scope="row" class="long">{{subject}}<br><small>{{kind}}</small></th><td><span class="state {{tone}}">{{state}}</span></td><td>{{limit}}</td><td class="n">{{used}}</td><td class="n">{{left}}</td><td class="t">{{until}}</td><td>
        <form method="post" action="/throttled" class="row tight"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="id" value="{{id}}">
        {{#isClient}}<button type="submit" name="do" value="pass" class="small" aria-label="Let {{subject}} through for a day">A day</button>
        <button type="submit" name="do" value="trust" class="small" aria-label="Trust {{subject}} for good">Trust</button>{{/isClient}}
        <button type="submit" name="do" value="forget" class="small danger" aria-label="Forget what {{subject}} has done">Forget</button></form></td></tr>
        {{/rows}}</tbody>
        </table>
        </div>{{/hasRows}}
        {{#more}}<p class="hint">{{more}}</p>{{/more}}
        """

    static let accounts = """
        <h1>Accounts</h1>
        <p>Accounts of your own users. One that suddenly sends like a bot is suspended until somebody releases it: change its password first.</p>
        {{#off}}<p class="hint">{{off}}</p>{{/off}}
        <dl class="tiles" data-live="/live">
        {{#tiles}}<div class="tile {{tone}}"><dt>{{name}}</dt><dd><span data-key="{{key}}">{{value}}</span> <small>{{unit}}</small></dd></div>
        {{/tiles}}</dl>
        <div data-refresh="/accounts/now" data-every="5">{{{table}}}</div>
        """

    static let accountsTable = """
        <section aria-labelledby="suspended">
        <h2 id="suspended">Suspended</h2>
        {{^hasSuspended}}<p>No account is suspended.</p>{{/hasSuspended}}
        {{#hasSuspended}}<div class="scroll" role="region" aria-labelledby="suspended" tabindex="0">
        <table>
        <thead><tr><th scope="col">Account</th><th scope="col">Since</th><th scope="col">Why</th><th scope="col">Change</th></tr></thead>
        <tbody>
        {{#suspended}}<tr><th scope="row" class="long">{{account}}</th><td class="t">{{since}}</td><td>{{reason}}</td><td>
        <form method="post" action="/accounts"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="id" value="{{id}}"><button type="submit" class="small" aria-label="Release {{account}}">Release</button></form></td></tr>
        {{/suspended}}</tbody>
        </table>
        </div>{{/hasSuspended}}
        </section>
        <section aria-labelledby="who">
        <h2 id="who">Near a limit, or past it</h2>
        {{^hasNear}}<p>No account has used half of a limit.</p>{{/hasNear}}
        {{#hasNear}}<div class="scroll" role="region" aria-labelledby="who" tabindex="0">
        <table>
        <thead><tr><th scope="col">Who</th><th scope="col">State</th><th scope="col">Limit</th><th scope="col" class="n">Used</th><th scope="col" class="n">Left</th><th scope="col">Until</th><th scope="col">Change</th></tr></thead>
        <tbody>
        {{#near}}<tr><th scope="row" class="long">{{subject}}<br><small>{{kind}}</small></th><td><span class="state {{tone}}">{{state}}</span></td><td>{{limit}}</td><td class="n">{{used}}</td><td class="n">{{left}}</td><td class="t">{{until}}</td><td>
        <form method="post" action="/throttled"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="id" value="{{id}}"><input type="hidden" name="page" value="accounts"><button type="submit" name="do" value="forget" class="small danger" aria-label="Forget what {{subject}} has done">Forget</button></form></td></tr>
        {{/near}}</tbody>
        </table>
        </div>{{/hasNear}}
        </section>
        """
}
