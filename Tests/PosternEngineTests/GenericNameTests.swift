import EngineTestSupport
import PosternCore
import Testing

@testable import PosternEngine

@Suite("Generic reverse names")
struct GenericNameTests {
    @Test(
        "of lines and rented machines are generic",
        arguments: [
            ("static.1-2-3-4.clients.your-server.de", "1.2.3.4"), ("p5b2c3d4e.dip0.t-ipconnect.de", "91.44.61.78"),
            ("pd9e5a1b2.dip0.t-ipconnect.de", "217.229.161.178"), ("dsl-203-0-113-9.example.net", "203.0.113.9"),
            ("9.113.0.203.dynamic.example.net", "203.0.113.9"), ("host-203-0-113-9.example.net", "203.0.113.9"),
            ("203.0.113.9.vultrusercontent.com", "203.0.113.9"), ("ec2-203-0-113-9.compute-1.amazonaws.com", "203.0.113.9"),
            ("9.113.0.203.bc.googleusercontent.com", "203.0.113.9"), ("203-0-113-9.ip.linodeusercontent.com", "203.0.113.9"),
            ("ip9.ip-203-0-113.eu", "203.0.113.9"), ("ns301.ip-203-0-113.eu", "203.0.113.9"), ("vps-4b1e2f3a.vps.ovh.net", "198.51.100.7"),
            ("vmi123456.contaboserver.net", "198.51.100.7"), ("hwsrv-123456.hostwindsdns.com", "198.51.100.7"),
            ("cpe-74-12-188-5.carolina.res.rr.com", "74.12.188.5"), ("clt74-12-188.carolina.rr.com", "24.74.12.188"),
            ("aazd112.neoplus.adsl.tpnet.pl", "83.6.141.112"), ("137.199.broadband13.iol.cz", "90.180.199.137"),
            ("133.muba.bstn.bstnmaco.dsl.att.net", "12.98.13.133"), ("adsl196-50-99-206-196.adsl196-4.iam.net.ma", "196.206.99.50"),
            ("host-010-020-030-040.example.net", "10.20.30.40"), ("h010020030040.example.net", "10.20.30.40"),
            ("h040030020010.example.net", "10.20.30.40"), ("net-93-70-174-151.cust.dsl.vodafone.example", "93.70.174.151"),
            ("181.red-88-26-129.staticip.rima-tde.net", "88.26.129.181"), ("c-73-1-2-3.hsd1.ma.comcast.net", "73.1.2.3"),
            ("pool-71-1-2-3.bstnma.fios.verizon.net", "71.1.2.3"), ("ip-1-2-3-4.mobile.example.net", "9.9.9.9"),
            ("mail-203-0-113-9.example.net", "203.0.113.9"), ("dyn-7.example.net", "198.51.100.7"),
            ("user12.isp.example.net", "198.51.100.7"),
            // IPv6: one run, groups, groups without their zeros, the short form, nibbles.
            ("p200300c1234567890abcdef012345678.dip0.t-ipconnect.de", "2003:c1:2345:6789:abc:def0:1234:5678"),
            ("2001-0db8-0001-0002-0003-abcd-0005-0006.v6.example.net", "2001:db8:1:2:3:abcd:5:6"),
            ("2001-db8-1-2-3-abcd-5-6.v6.example.net", "2001:db8:1:2:3:abcd:5:6"), ("2001-db8-1-2--1.v6.example.net", "2001:db8:1:2::1"),
            ("6.0.0.0.5.0.0.0.d.c.b.a.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.example.net", "2001:db8:1:2:3:abcd:5:6"),
            ("dynamic-7.pool.example.net", "2001:db8::7"),
        ])
    func generic(name: String, address: String) throws {
        #expect(GenericName.matches(try #require(DomainName(name)), address: try #require(IPAddress(address))))
    }

    @Test(
        "of mail servers are not",
        arguments: [
            ("mail-wr1-f41.google.com", "209.85.221.41"), ("mail-ej1-f54.google.com", "209.85.218.54"),
            ("mail-sor-f69.google.com", "209.85.220.69"), ("mail-am6eur05on2055.outbound.protection.outlook.com", "40.107.22.55"),
            ("mail-dm6nam11on2069.outbound.protection.outlook.com", "40.107.223.69"), ("a48-93.smtp-out.amazonses.com", "54.240.48.93"),
            ("a8-31.smtp-out.amazonses.com", "54.240.8.31"), ("b224-11.smtp-out.eu-central-1.amazonses.com", "69.169.224.11"),
            ("o1.ptr1234.sendgrid.net", "167.89.1.2"), ("xvfrpkvn.outbound-mail.sendgrid.net", "168.245.7.8"),
            ("mail12.atl11.rsgsv.net", "198.2.128.12"), ("mail133-30.atl131.mandrillapp.com", "198.2.133.30"),
            ("mta65a.sparkpostmail.com", "147.253.1.65"), ("mta-70-5.sparkpostmail.com", "192.174.70.5"), ("mout.gmx.net", "212.227.17.22"),
            ("mout.web.de", "212.227.15.14"), ("mout.kundenserver.de", "212.227.126.130"),
            ("sonic304-22.consmr.mail.bf2.yahoo.com", "74.6.128.45"),
            ("ms11p00im-qufo17291801.me.com", "17.58.38.48"), ("st43p00im-ztdg10073301.me.com", "17.58.63.177"),
            ("1.mo301.mail-out.ovh.net", "137.74.110.64"), ("mail-40131.protonmail.ch", "185.70.40.131"),
            ("m43-7.mailgun.net", "69.72.43.7"),
            ("mail29.static.mailgun.info", "104.130.122.29"), ("mailout03.t-online.de", "194.25.134.81"),
            ("resqmta-po-10v.sys.comcast.net", "96.114.154.169"), ("out30-45.freemail.mail.aliyun.com", "115.124.30.45"),
            ("mx0b-00069f02.pphosted.com", "205.220.177.32"), ("m97134.mail.qiye.163.com", "220.181.97.134"),
            ("bombadil.infradead.org", "198.137.202.133"),
            ("kvm5.telegraphics.com.au", "98.124.60.144"), ("mx2.suse.de", "195.135.220.15"),
            ("gateway20.websitewelcome.com", "192.185.61.9"),
            ("www262.sakura.ne.jp", "202.181.97.72"), ("smtp-pool-3.example.net", "198.51.100.3"),
            ("mailout-12-34.customers.example.net", "198.51.12.34"),
            ("vps1.example", "198.51.100.1"), ("home.example.org", "198.51.100.1"), ("mx1.example.org", "192.0.2.1"),
            ("mail-yw1-x1129.google.com", "2607:f8b0:4864:20::1129"), ("mail-wr1-x433.google.com", "2a00:1450:4864:20::433"),
            ("mx1.example.org", "2001:db8::1"), ("mail.example.org", "2001:db8:1:2:3:abcd:5:6"), ("mail.example.org", "::1"),
        ])
    func named(name: String, address: String) throws {
        #expect(GenericName.matches(try #require(DomainName(name)), address: try #require(IPAddress(address))) == false)
    }

    @Test("take away the name's identity and the right to be proven")
    func identities() throws {
        let domains = LastTwoLabels()
        func client(_ address: String, _ name: String?) -> Client {
            Client(address: IPAddress(address), confirmedName: name.flatMap { DomainName($0) })
        }
        let generic = client("203.0.113.9", "dsl-203-0-113-9.example.net")
        #expect(generic.identities(widths: IdentityWidths(), domains: domains).map(\.description) == ["net:203.0.113.0/24"])
        #expect(generic.hasGenericName)
        let server = client("203.0.113.9", "mx1.example.net")
        #expect(
            server.identities(widths: IdentityWidths(), domains: domains).map(\.description) == ["name:example.net", "net:203.0.113.0/24"])
        #expect(!server.hasGenericName)
        #expect(!client("203.0.113.9", nil).hasGenericName)
        #expect(
            Client(address: nil, confirmedName: DomainName("mx1.example.net")).identities(widths: IdentityWidths(), domains: domains) == [])
        // A name that is itself a public suffix has no organisation.
        #expect(
            client("203.0.113.9", "net").identities(widths: IdentityWidths(), domains: domains).map(\.description) == ["net:203.0.113.0/24"]
        )
    }

    @Test(
        "networks are as wide as they are set, IPv4 by default /24 and IPv6 /64",
        arguments: [
            ("203.0.113.9", 24, 64, "net:203.0.113.0/24"), ("203.0.113.9", 32, 64, "net:203.0.113.9"),
            ("203.0.113.9", 16, 64, "net:203.0.0.0/16"),
            ("::ffff:203.0.113.9", 24, 64, "net:203.0.113.0/24"), ("2001:db8:1:2:3::1", 24, 64, "net:2001:db8:1:2::/64"),
            ("2001:db8:1:2:3::1", 24, 48, "net:2001:db8:1::/48"), ("203.0.113.9", 99, 64, "net:203.0.113.9"),
        ])
    func widths(address: String, v4: Int, v6: Int, expected: String) {
        let client = Client(address: IPAddress(address))
        let identities = client.identities(widths: IdentityWidths(v4: v4, v6: v6), domains: LastTwoLabels())
        #expect(identities.map(\.description) == [expected])
    }

    @Test("the SPF domain comes first where there is one")
    func spf() {
        let client = Client(address: IPAddress("203.0.113.9"), confirmedName: DomainName("mx1.example.net"))
        let identities = client.identities(widths: IdentityWidths(), domains: LastTwoLabels(), spfDomain: DomainName("bounce.example.org"))
        #expect(identities.map(\.description) == ["spf:example.org", "name:example.net", "net:203.0.113.0/24"])
    }
}
