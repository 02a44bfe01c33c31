import PosternCore
import Testing

@testable import PosternEngine
@testable import PosternStorage

@Suite struct KeyHasherTests {
    @Test func `SipHash yields its authors' results`() {
        // From vectors.h of the reference implementation: key 00…0f, input 00, 01, … of each length.
        let hash = SipHash(k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908)
        let expected: [Int: UInt64] = [
            0: 0x726f_db47_dd0e_0e31, 1: 0x74f8_39c5_93dc_67fd, 2: 0x0d6c_8009_d9a9_4f5a, 3: 0x8567_6696_d7fb_7e2d,
            15: 0xa129_ca61_49be_45e5,
        ]
        for (length, result) in expected {
            #expect((0..<length).map(UInt8.init).withUnsafeBytes { hash.hash($0) } == result, "\(length)")
        }
    }

    @Test func `A secret has 32 octets, and each of them matters`() throws {
        #expect(KeyHasher(secret: [UInt8](repeating: 0, count: 31)) == nil)
        #expect(KeyHasher(secret: [UInt8](repeating: 0, count: 33)) == nil)
        let zero = [UInt8](repeating: 0, count: 32)
        let base = try #require(KeyHasher(secret: zero))
        for index in 0..<32 {
            var secret = zero
            secret[index] = 1
            let other = try #require(KeyHasher(secret: secret))
            let changed = (other.key(of: triplet(1)) != base.key(of: triplet(1)), other.key(of: .network(1)) != base.key(of: .network(1)))
            #expect(changed == (index < 16, index >= 16))
            #expect((other.check != base.check) == (index >= 16))
        }
    }

    @Test func `Keys stay the same from version to version`() throws {
        // A change here makes every database forget all.
        let hasher = try #require(KeyHasher(secret: (0..<32).map(UInt8.init)))
        let name = try #require(DomainName("example.org"))
        let v6 = try #require(Prefix("2001:db8::/64"))
        let keys = [
            hasher.key(of: TripletKey(identity: .network(1), sender: "sender@example.org", recipient: "user@example.net")),
            hasher.key(of: TripletKey(identity: .network(v6), sender: "", recipient: "*")),
            hasher.key(of: .spfDomain(name)), hasher.key(of: .nameDomain(name)), hasher.key(of: .network(1)), hasher.check,
        ]
        #expect(
            keys == [
                -906_352_004_600_039_700, 8_429_318_168_602_834_819, 1_332_490_259_582_594_343, 1_464_438_929_387_578_933,
                2_114_068_504_042_876_874, -6_826_251_625_379_489_466,
            ])
        #expect(
            Set(keys + [hasher.key(of: .address(v6)), hasher.key(of: .address(Prefix(IPAddress(v4: 0xc000_0300), length: 24)))]).count
                == keys.count + 2)
    }

    @Test func `Text is found in any case of ASCII, and only there`() {
        #expect(TextMatch("").isPart(of: ""))
        #expect(TextMatch("b").isPart(of: "aBc"))
        #expect(TextMatch("BC").isPart(of: "abc"))
        #expect(!TextMatch("abcd").isPart(of: "abc"))
        #expect(!TextMatch("ac").isPart(of: "abc"))
        #expect(TextMatch("aab").isPart(of: "aaab"))
        #expect(TextMatch("ü").isPart(of: "xÜü"))
        #expect(!TextMatch("ü").isPart(of: "Ü"))
        #expect(!TextMatch("@").isPart(of: "`"))
    }

    @Test func `What is all of a field, or an item in it, is no part of anything else`() {
        #expect(TextMatch("a@b.c", .all).isPart(of: "A@b.c") && !TextMatch("a@b.c", .all).isPart(of: "a@b.c, d@e.f"))
        #expect(TextMatch("", .all).isPart(of: "") && !TextMatch("", .item).isPart(of: "a@b.c") && TextMatch("", .item).isPart(of: ""))
        for text in ["d@e.f", "a@b.c, d@e.f", "D@e.f, a@b.c", "x, d@e.f, a@b.c", "xd@e.f, d@e.f"] {
            #expect(TextMatch("d@e.f", .item).isPart(of: text), "\(text)")
        }
        for text in ["", "xd@e.f", "d@e.fg", "a@b.c,d@e.f", "a@b.c, d@e.f.g", ",d@e.f", "d@e.f,"] {
            #expect(!TextMatch("d@e.f", .item).isPart(of: text), "\(text)")
        }
    }
}
