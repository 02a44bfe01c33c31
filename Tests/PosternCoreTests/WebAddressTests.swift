import PosternCore
import Testing

struct WebAddressTests {
    @Test(arguments: [
        "http://example.net", "https://example.net/a?b=c#d", "http://192.0.2.1:8080/", "http://[2001:db8::1]", "http://[::1]:65535/x",
        "https://example.net?a=$", "http://b\u{fc}cher.example/", "http://h:1/a:b@c",
    ])
    func whatIsOne(text: String) throws {
        let address = try WebAddress(text)
        #expect(address.text == text && address.credentials == nil && address.isEncrypted == text.hasPrefix("https"))
    }

    @Test(arguments: [
        ("", WebAddressError.scheme), ("/path", .scheme), ("ftp://example.net", .scheme), ("javascript:x", .scheme), ("http:/x", .scheme),
        ("https://", .host), ("http:///x", .host), ("http://:80/", .host), ("http://?a", .host), ("http://user@/", .host),
        ("http://a@b@c/", .host), ("https://[::1/", .host), ("http://[::1]x/", .host), ("http://[192.0.2.1]/", .host),
        ("http://a\\b/", .host), ("http://exa mple/", .space), ("http://h/a\tb", .space), ("http://h:99999/", .port),
        ("http://h:0/", .port), ("http://h:abc/x", .port), ("http://h:/", .port), ("http://h:+80/", .port), ("http://[::1]:x", .port),
    ])
    func whatIsNone(text: String, error: WebAddressError) {
        #expect(throws: error) { try WebAddress(text) }
    }

    @Test(arguments: [
        ("HTTPS://user:p%40ss@lists.example.net:8443/drop.txt", "https://lists.example.net:8443/drop.txt", "user:p@ss"),
        ("http://user@h/", "http://h/", "user:"), ("hTTp://u:%zz%+1%C3%A4%@[::1]/?@", "http://[::1]/?@", "u:%zz%+1\u{e4}%"),
    ])
    func credentialsAndTheCaseOfTheScheme(text: String, without: String, credentials: String) throws {
        let address = try WebAddress(text)
        #expect(address.text == without && address.credentials == Array(credentials.utf8))
    }
}
