import PosternCore
import Testing

@testable import PosternEngine

@Suite("Sender normalisation")
struct SenderNormalisationTests {
    private func normalised(_ text: String) -> String { ReversePath(text).normalised }

    @Test(
        "levels what changes from message to message",
        arguments: [
            // BATV (draft-levine-smtp-batv-01 §3): milter-batv and Exim, the older form, Barracuda.
            ("prvs=1234567890=user@example.org", "user@example.org"), ("prvs=4711ABCDEF=User@Example.org", "user@example.org"),
            ("prvs=user/0123abcdef@example.org", "user@example.org"), ("btv1==066cc2d5a7c==user@example.org", "user@example.org"),
            // SRS (Mail::SRS::Guarded, libsrs2, postsrsd), with each of the first separators.
            ("SRS0=HHHH=TT=example.com=user@forwarder.example", "srs0=example.com=user@forwarder.example"),
            ("SRS0+9a8b=7C=example.com=user@forwarder.example", "srs0=example.com=user@forwarder.example"),
            ("SRS0-ab/d=7C=example.com=user@forwarder.example", "srs0=example.com=user@forwarder.example"),
            ("SRS0=ab+d=7C=example.com=user@forwarder.example", "srs0=example.com=user@forwarder.example"),
            ("SRS0=HHHH=TT=example.com=a=b@forwarder.example", "srs0=example.com=a=b@forwarder.example"),
            ("SRS1=GGGG=first.example==HHHH=TT=example.com=user@second.example", "srs1=first.example=example.com=user@second.example"),
            ("SRS1+GGGG=first.example=+HHHH=TT=example.com=user@second.example", "srs1=first.example=example.com=user@second.example"),
            ("SRS1=GGGG=first.example=-HHHH=TT=example.com=user@second.example", "srs1=first.example=example.com=user@second.example"),
            // SRS of what BATV had signed.
            ("SRS0=HHHH=TT=example.com=prvs=1234abcdef=user@f.example", "srs0=example.com=prvs=#=user@f.example"),
            // Exchange Online and Gmail forwarding put their marks behind a plus.
            ("bounces+SRS=wI1TL=J5@contoso.onmicrosoft.example", "bounces@contoso.onmicrosoft.example"),
            ("user+caf_=me=example.org@gmail.com", "user@gmail.com"),
            // Amazon SES.
            (
                "0102018f1b2c3d4e-5f6a7b8c-9d0e-4f2a-bcde-5d6e7f8a9b0c-000000@eu-west-1.amazonses.com",
                "#-#-#@eu-west-1.amazonses.com"
            ),
            (
                "010001850b1f5b3c-3d2c8a5b-7f0e-4d4b-8c9e-1a2b3c4d5e6f-000000@amazonses.com", "#-#-#@amazonses.com"
            ),
            // SendGrid.
            ("bounces+1234567-7f2a-user=example.org@em1234.shop.example", "bounces@em1234.shop.example"),
            // Mailchimp: account, campaign, member.
            ("bounce-mc.us12_12345678.1234567-abcdef1234@mail12.atl11.rsgsv.net", "bounce-mc.us12_#.#-#@mail12.atl11.rsgsv.net"),
            // Mandrill.
            ("bounce-md_30012345.5f6a7b8c.v1-0a1b2c3d4e5f60718293a4b5c6d7e8f9@mandrillapp.com", "bounce-md_#.#.v1-#@mandrillapp.com"),
            // SparkPost.
            ("msprvs1=17743gqJmMoRi=bounces-12345-6@bounces.shop.example", "bounces-#-#@bounces.shop.example"),
            // ezmlm and qmail VERP, mailman, Google Groups.
            ("list-return-1234-user=example.org@lists.example", "list-return-#-user=example.org@lists.example"),
            ("list-bounces+user=example.org@lists.example", "list-bounces@lists.example"),
            ("list-bounces@lists.example", "list-bounces@lists.example"),
            ("group+bncBDJ6RK4T7QNBBSNU3WXAKGQE2CPQNFQ@googlegroups.com", "group@googlegroups.com"),
            // Google's notifications: a token, then names in a cipher that stays.
            ("37dXoXg0JAJ4hkxkvwx-9hkv.iusj4@gaia.bounces.google.com", "#-9hkv.iusj4@gaia.bounces.google.com"),
            // A UUID, a message number, a date, a tag.
            ("550e8400-e29b-41d4-a716-446655440000@mail.example", "#@mail.example"),
            ("bounce.abcd-dead-beef-cafe.550e8400-e29b-41d4-a716-446655440000.x@m.example", "bounce.abcd-dead-beef-cafe.#.x@m.example"),
            ("bounce-2026-11-20@mail.example", "bounce-#-#-#@mail.example"), ("user+tag@example.org", "user@example.org"),
            ("user+a+b@example.org", "user@example.org"), ("User@EXAMPLE.org.", "user@example.org"), ("", ""),
        ])
    func levels(text: String, expected: String) {
        #expect(normalised(text) == expected)
    }

    @Test(
        "is the same for two messages of one correspondent",
        arguments: [
            ("prvs=0164d8a3e1=a@example.org", "prvs=0175ffe210=a@example.org"),
            ("SRS0=Ab3d=RA=example.com=a@f.example", "SRS0=zZ/9=RB=example.com=a@f.example"),
            (
                "0102018f1b2c3d4e-abcdefab-cdef-4abc-abcd-abcdefabcdef-000000@eu-west-1.amazonses.com",
                "0102019000000001-12345678-1234-4123-8123-123456789012-000000@eu-west-1.amazonses.com"
            ), ("msprvs1=18220a1B2C3D=bounces-7@x.example", "msprvs1=18221zzZZ99aa=bounces-8@x.example"),
            ("l-return-1-a=b.example@l.example", "l-return-22222-a=b.example@l.example"),
            ("btv1==066aaaaaaaa==a@example.org", "btv1==067bbbbbbbb==a@example.org"), ("a@example.org", "a+news@EXAMPLE.org"),
            ("bounce-mc.us1_11.22-0123456789@m.example", "bounce-mc.us1_11.33-fedcba9876@m.example"),
        ])
    func equal(a: String, b: String) {
        #expect(normalised(a) == normalised(b))
    }

    @Test(
        "keeps apart what is not the same",
        arguments: [
            ("a@example.org", "b@example.org"), ("a@example.org", "a@example.com"), ("user1@example.org", "user2@example.org"),
            ("SRS0=Ab3d=RA=example.com=a@f.example", "SRS0=Ab3d=RA=example.com=b@f.example"),
            ("SRS0=Ab3d=RA=example.com=a@f.example", "SRS0=Ab3d=RA=example.net=a@f.example"),
            ("SRS0=Ab3d=RA=example.com=a@f.example", "a@example.com"),
            ("SRS1=G=one.example=+H=TT=x.example=a@s.example", "SRS1=G=one.example=+H=TT=y.example=a@s.example"),
            ("SRS1=G=one.example==H=TT=x.example=a@s.example", "SRS1=G=two.example==H=TT=x.example=a@s.example"),
            ("prvs=1234567890=a@example.org", "prvs=1234567890=b@example.org"),
            ("list-a-return-1-x=y@l.example", "list-b-return-1-x=y@l.example"),
            ("a@l.example", ""), ("@l.example", ""), ("john1985@gmail.com", "mary1985@gmail.com"),
            // People whose name is a number: QQ, telephones.
            ("10001@qq.com", "10002@qq.com"), ("+491701234567@sms.example", "+491701234568@sms.example"),
            ("10001+news@qq.com", "10002+news@qq.com"),
            // Long names with a year are not tokens.
            ("christophermiller1985@gmail.com", "elizabethjohnson1990@gmail.com"), ("srs0@example.org", "srs1@example.org"),
            ("srs0foo@example.org", "srs0bar@example.org"), ("prvs@example.org", "user@example.org"),
            ("list-owner@l.example", "list-bounces@l.example"), ("deadbeef@example.org", "facadeed@example.org"),
        ])
    func distinct(a: String, b: String) {
        #expect(normalised(a) != normalised(b))
    }

    @Test(
        "takes what is cut short or makes no sense as it comes, and is never the null sender",
        arguments: [
            "prvs=@e.org", "prvs==@e.org", "prvs=x@e.org", "prvs=/@e.org", "btv1==@e.org", "btv1==x@e.org", "btv1==x=@e.org",
            "btv1====@e.org",
            "msprvs1=@e.org", "msprvs1==@e.org", "srs0@e.org", "srs0=@e.org", "srs0==@e.org", "srs0====@e.org", "srs1=====@e.org",
            "srs1=a=b=c@e.org", "srs1======@e.org", "srs0\u{301}=a=b=c=d@e.org", "srs0=\u{301}@e.org", "+@e.org", "++@e.org", "-@e.org",
            "@e.org", "=@e.org", "user", "0@e.org", "é1\u{301}+x@e.org", "\u{0}@e.org", "12345678-1234-1234-1234-1234567890123@e.org",
            "12345678-1234-1234-1234@e.org", "12345678-@e.org",
        ])
    func odd(text: String) {
        let once = normalised(text)
        #expect(!once.isEmpty)
        #expect(once == normalised(text.lowercasedASCII))
    }

    @Test("takes a local part of any length in time linear to it")
    func long() {
        for part in ["1-", "a1", "+", "srs0=", "=", "f0f0f0f0-", "prvs="] {
            let text = String(repeating: part, count: 20_000) + "@e.org"
            #expect(normalised(text).hasSuffix("@e.org"))
        }
    }

    @Test("a UUID ends where a word ends")
    func uuidEnds() {
        #expect(normalised("12345678-1234-1234-1234-1234567890123@e.org") == "#-#-#-#-#@e.org")
        #expect(normalised("12345678-abcd-1234-1234-12345678901g@e.org") == "#-abcd-#-#-12345678901g@e.org")
    }
}
