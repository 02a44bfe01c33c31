import Mustache
import PosternControl

/// The pages' frames, in Mustache. They are part of the program: there is no file to be missing.
enum Template {
    /// All of them, read once.
    private static let library: MustacheLibrary = {
        do {
            return MustacheLibrary(templates: try sources.mapValues { try MustacheTemplate(string: $0) })
        } catch {
            preconditionFailure("a template of our own cannot be read: \(error)")
        }
    }()

    private static let sources = [
        "frame": frame, "login": login, "overview": overview, "find": find, "decision": decision, "message": message,
        "charts": charts, "lists": lists, "changes": changes, "waiting": waiting, "traps": traps, "effect": effect,
        "throttled": throttled, "throttledTable": throttledTable, "accounts": accounts, "accountsTable": accountsTable,
    ]

    /// Renders a template that is named here; its values are escaped where they are put in.
    static func render(_ name: String, _ values: [String: Any]) -> String {
        library.render(values, withTemplate: name) ?? ""
    }

    private static let frame = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>{{title}} – Postern{{#host}} on {{host}}{{/host}}</title>
        <link rel="stylesheet" href="/assets/{{style}}">
        <link rel="icon" type="image/svg+xml" href="/assets/{{icon}}">
        <script src="/assets/{{script}}" defer></script>
        </head>
        <body>
        <a class="skip" href="#main">Skip to content</a>
        <header class="top">
        <a class="brand" href="/"><img src="/assets/{{icon}}" alt="" width="24" height="24">Postern</a>
        <nav aria-label="Pages"><ul>
        {{#pages}}<li><a href="{{href}}"{{#current}} aria-current="page"{{/current}}>{{name}}</a></li>
        {{/pages}}</ul></nav>
        </header>
        <main id="main" tabindex="-1">
        {{#done}}<div class="done" role="status">{{done}}{{#undo}} <form method="post" action="/undo"><input type="hidden" name="form_token" value="{{token}}"><input type="hidden" name="change" value="{{undo}}"><button type="submit" class="small">Undo</button></form>{{/undo}}</div>{{/done}}
        {{#failed}}<p class="failed" role="alert">{{failed}}</p>{{/failed}}
        {{{content}}}
        </main>
        <footer class="bottom"><p>Postern {{version}}{{#host}} on {{host}}{{/host}}. Times are UTC.</p></footer>
        </body>
        </html>
        """

    private static let login = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>Sign in – Postern</title>
        <link rel="stylesheet" href="/assets/{{style}}">
        </head>
        <body>
        <main id="main" class="narrow">
        <h1>Postern</h1>
        {{#failed}}<p class="failed" role="alert">That is not the token.</p>{{/failed}}
        <form method="post" action="/login">
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
        <p class="hint">It stands in the file that <code>token_file</code> names.</p>
        <button type="submit">Sign in</button>
        </form>
        </main>
        </body>
        </html>
        """

    private static let message = """
        <h1>{{title}}</h1>
        <p>{{text}}</p>
        """
}

/// The pages, as the navigation has them.
enum Page: String, CaseIterable {
    case overview = "/"
    case find = "/find"
    case waiting = "/waiting"
    case lists = "/lists"
    case traps = "/traps"
    case throttled = "/throttled"
    case accounts = "/accounts"
    case effect = "/effect"
    case changes = "/changes"

    var name: String {
        switch self {
        case .overview: "Overview"
        case .find: "Find"
        case .waiting: "Waiting"
        case .lists: "Lists"
        case .traps: "Traps"
        case .throttled: "Throttled"
        case .accounts: "Accounts"
        case .effect: "Effect"
        case .changes: "Changes"
        }
    }

    /// Whether there is something to see; a page that is not listed can still be opened.
    func isListed(_ status: StatusReport?) -> Bool {
        switch self {
        case .traps: status.map { !$0.traps.isEmpty || $0.harvest.map { $0.black + $0.brown + $0.yellow + $0.white > 0 } ?? false } ?? false
        case .throttled:
            status.map { status in
                status.limits.map { $0.throttleMode != "off" } ?? false || status.listeners.contains { $0.role == "throttle" }
            } ?? false
        case .accounts: status?.limits.map { $0.accountsMode != "off" || $0.suspendedAccounts > 0 } ?? false
        default: true
        }
    }
}
