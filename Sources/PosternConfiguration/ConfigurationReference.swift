extension Parameter {
    /// docs/configuration.md: every key, its type, its default and its meaning, from the table.
    public static var reference: String {
        var out = """
            # Configuration

            <!-- Written by `postern config reference`; change Sources/PosternConfiguration instead. -->

            Postern reads one YAML file: the one that `--config FILE` names, else the one that `$POSTERN_CONFIG` names, else
            `/etc/postern/postern.yaml` where there is one. Without a file the defaults below hold: the policy service listens on
            127.0.0.1:10023 and keeps its data in `./postern-data`.

            - `postern config check [FILE]` tells everything that is wrong, each with `file:line:column: message`, and exits with 78.
              What is merely risky it tells as a warning, and exits with 0.
            - `postern config show` prints the configuration in effect with comments; its output is a valid configuration file.
            - SIGHUP and `postern reload` make the daemon read the file again. A file with errors changes nothing. What is said of
              data_directory, store, policy, decisions, history, log and user holds from the next start; so does a listener that comes
              or goes, and a listener's role, address, mode and group. What else is said of a gateway, throttle,
              submission listener, trap or DNS service that is there holds at once.

            How values are written:

            | type | examples |
            |---|---|
            | duration | `250ms`, `2s`, `3m`, `24h`, `36d`: a whole number and a unit, at most `3653d` |
            | mode | `on`, `off`, `shadow`; with or without quotes, and `true` and `false` are taken for `on` and `off` |
            | address | `127.0.0.1:10023`, `[::1]:10023`, `unix:/path`; port 0 lets the kernel choose |
            | network | `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`; bits beyond the length must be zero |
            | recipient | `user@example.org`; `user@` at any domain; `example.org` with all below it |
            | permissions | octal, `"0660"` |

            A key that Postern does not know is an error, and so is a key that is given twice. Names that later versions will know
            (listeners with another role, `store.redis`) are refused with a message that says so.

            ## Example

            ```yaml
            hostname: mx1.example.net
            data_directory: /var/lib/postern
            listeners:
              - { name: policy, role: policy, address: "unix:/var/spool/postfix/postern/policy.sock", mode: "0660", group: postfix }
              - { name: mx, role: gateway, address: "0.0.0.0:25", backend: "127.0.0.1:10025", backend_client_info: xclient }
            networks: { local: [192.0.2.0/24], forwarders: [198.51.100.7] }
            greylist: { mode: on, delay: 3m, opt_out: [support@example.net] }
            user: postern
            ```

            The socket stands inside Postfix's chroot, so Postfix names it `check_policy_service unix:postern/policy.sock`.

            """
        var sections: [String] = []
        for parameter in all where !sections.contains(parameter.section) { sections.append(parameter.section) }
        for section in sections {
            out +=
                "\n## " + (section.isEmpty ? "Top level" : section == "listeners[]" ? "listeners: a list, of each listener" : section)
                + "\n\n"
            out += "| key | type | default | meaning |\n|---|---|---|---|\n"
            for parameter in all where parameter.section == section {
                let type = parameter.type.replacing("|", with: "\\|")
                let value = parameter.defaultValue.hasPrefix("(") ? parameter.defaultValue : "`\(parameter.defaultValue)`"
                out += "| `\(parameter.name)` | \(type) | \(value) | \(parameter.documentation.replacing("|", with: "\\|")) |\n"
            }
        }
        return out
    }
}
