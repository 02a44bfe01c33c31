import PosternCore
import PosternEngine

extension Configuration {
    /// The whole configuration as a YAML file with comments; reading it gives an equal configuration.
    public var commentedYAML: String {
        var out = "# The configuration in effect: every key, with its meaning and default.\n"
        var section = ""
        for parameter in Parameter.all where parameter.path != "listeners[].name" || !listeners.isEmpty {
            if parameter.section == "listeners[]" {
                if section != "listeners[]" { out += "\n" + listenersYAML }
                section = "listeners[]"
                continue
            }
            if parameter.section.isEmpty {
                out += "\n"
            } else if parameter.section != section {
                out += "\n\(parameter.section):\n"
            }
            section = parameter.section
            let indent = section.isEmpty ? "" : "  "
            for line in parameter.comment { out += "\(indent)# \(line)\n" }
            if let value = yaml(of: parameter.path) {
                out += "\(indent)\(parameter.name): \(value)\n"
            } else {
                out += "\(indent)# \(parameter.name):\n"
            }
        }
        return out
    }

    /// The value of a key as it is written in YAML; `nil` for one that is not set and has no word for that.
    func yaml(of path: String) -> String? {
        switch path {
        case "hostname": YAMLText.quoted(hostname)
        case "data_directory": YAMLText.quoted(dataDirectory)
        case "store.sqlite": YAMLText.quoted(store.sqlite)
        case "store.sync": store.sync.rawValue
        case "domains": domains.yaml
        case "networks.local": YAMLText.list(networks.local.prefixes)
        case "networks.backup_mx": YAMLText.list(networks.backupMX.prefixes)
        case "networks.forwarders": YAMLText.list(networks.forwarders.prefixes)
        case "networks.monitoring": YAMLText.list(networks.monitoring.prefixes)
        case "networks.proxies": YAMLText.list(networks.proxies.prefixes)
        case "networks.xclient": YAMLText.list(networks.xclient.prefixes)
        case "dns.resolvers": dns.resolvers.yaml
        case "dns.timeout": dns.timeout.description
        case "dns_lists": dnsLists.isEmpty ? "[]" : "[" + dnsLists.map(\.yaml).joined(separator: ", ") + "]"
        case "subscriptions": "[" + subscriptions.map(\.yaml).joined(separator: ", ") + "]"
        case "exports": "[" + exports.map(\.yaml).joined(separator: ", ") + "]"
        case "geo.databases": YAMLText.list(geography.databases)
        case "geo.countries": geography.countriesYAML
        case "geo.networks": geography.networksYAML
        case "profile": profile.rawValue
        case "bands.pass": bands.pass.plain
        case "bands.greylist": bands.greylist.plain
        case "bands.slow": bands.slow.plain
        case "bands.reject": bands.reject.plain
        case "greylist.mode": greylist.mode.rawValue
        case "greylist.delay": greylist.delay.description
        case "greylist.window": greylist.window.description
        case "greylist.lifetime": greylist.lifetime.description
        case "greylist.proven_after": String(greylist.provenAfter)
        case "greylist.ipv4_prefix": String(greylist.widths.v4)
        case "greylist.ipv6_prefix": String(greylist.widths.v6)
        case "spf.header": spfHeader.rawValue
        case "greylist.recheck": greylist.recheck.description
        case "policy.hold": policy.hold.description
        case "greylist.header": String(greylist.header)
        case "greylist.reply": greylist.reply.rawValue
        case "greylist.opt_in": YAMLText.list(greylist.optIn.map(\.description).sorted())
        case "greylist.opt_out": YAMLText.list(greylist.optOut.map(\.description).sorted())
        case "policy.idle_timeout": policy.idleTimeout.description
        case "policy.max_connections": String(policy.maxConnections)
        case "policy.max_request_size": String(policy.maxRequestSize)
        case "policy.max_line_length": String(policy.maxLineLength)
        case "policy.max_attributes": String(policy.maxAttributes)
        case "decisions.keep": decisions.keep.description
        case "history.keep": history.keep.description
        case "delays.greeting": delays.greeting.yaml
        case "delays.stage": delays.stage.description
        case "delays.deferral": delays.deferral.description
        case "delays.first_pass": delays.firstPass.description
        case "delays.clean": delays.clean.description
        case "delays.stutter": delays.stutter.description
        case "framing": framing.rawValue
        case "log.format": log.format.rawValue
        case "log.level": log.level.rawValue
        case "log.redact": String(log.redact)
        case "user": user.map(YAMLText.quoted)
        case _ where path.hasPrefix("harvest."): harvestYAML(String(path.dropFirst(8)))
        case _ where path.hasPrefix("throttle.") || path.hasPrefix("accounts.") || path.hasPrefix("trusted"): throttleYAML(of: path)
        default:
            path.hasPrefix("checks.") ? Check(rawValue: String(path.dropFirst(7))).map { (checks[$0] ?? $0.defaultSetting).yaml } : nil
        }
    }

    private var listenersYAML: String {
        var out = "# The sockets to listen on. Without this key: the policy service on 127.0.0.1:10023. Of each listener:\n"
        for parameter in Parameter.all where parameter.section == "listeners[]" {
            let lines = parameter.comment
            out += "#   \(parameter.name): \(lines[0])\n"
            for line in lines.dropFirst() { out += "#     \(line)\n" }
        }
        out += "listeners:\n"
        for listener in listeners {
            out += "  - name: \(YAMLText.quoted(listener.name))\n"
            for (key, value) in listener.lines { out += "    \(key): \(value)\n" }
        }
        return out
    }
}

extension Configuration.Listener {
    /// All of it but its name: key and value.
    var lines: [(key: String, value: String)] {
        var lines = [("role", role.rawValue), ("address", YAMLText.quoted(address.description))]
        if case .unix(_, let mode, let group) = address {
            if let mode { lines.append(("mode", "\"0\(String(mode, radix: 8).leftPadded(to: 3))\"")) }
            if let group { lines.append(("group", YAMLText.quoted(group))) }
        }
        let further = (gateway?.yaml ?? []) + (trap?.yaml ?? []) + (admin?.yaml ?? []) + (socketmap?.yaml ?? [])
        return (lines + further + (dnsService?.yaml ?? [])).map { (key: $0.0, value: $0.1) }
    }
}

extension Configuration.Domains {
    fileprivate var yaml: String {
        switch self {
        case .any: "[\"*\"]"
        case .listed(let names): YAMLText.list(names)
        }
    }
}

extension DelaySettings.Greeting {
    fileprivate var yaml: String {
        switch self {
        case .fixed(let span): span.description
        case .auto: "auto"
        }
    }
}

extension Configuration.DNS.Resolvers {
    fileprivate var yaml: String {
        switch self {
        case .system: "system"
        case .listed(let resolvers): YAMLText.list(resolvers)
        }
    }
}

extension Parameter {
    /// What a file says above the key: its meaning, its type and its default.
    var comment: [String] { wrapped("\(documentation) [\(type); default \(defaultValue)]", at: 110) }
}

/// Values written so that YAML reads back what was meant.
enum YAMLText {
    /// In double quotes (YAML 1.2 §7.3.1).
    static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            // Control characters, and the line breaks of Unicode, which YAML would fold.
            case "\0"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}", "\u{feff}":
                out += "\\u" + String(scalar.value, radix: 16).leftPadded(to: 4)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }

    static func list(_ elements: [some CustomStringConvertible]) -> String {
        "[" + elements.map { quoted($0.description) }.joined(separator: ", ") + "]"
    }
}

extension String {
    func leftPadded(to width: Int) -> String { String(repeating: "0", count: max(0, width - count)) + self }
}

/// Breaks a text at spaces into lines of at most `width` characters, where its words allow it.
func wrapped(_ text: String, at width: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
        if !line.isEmpty, line.count + 1 + word.count > width {
            lines.append(line)
            line = ""
        }
        line += line.isEmpty ? String(word) : " \(word)"
    }
    return line.isEmpty ? lines : lines + [line]
}
