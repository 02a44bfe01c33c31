import Foundation
import HTTPTypes
import HummingbirdCore
import NIOCore
import PosternControl

/// What the JSON interface says where it cannot do what it was asked.
struct APIFailure: Encodable {
    var error: String
}

extension HTTPField.Name {
    static let secFetchSite = HTTPField.Name("Sec-Fetch-Site") ?? .userAgent
}

extension Response {
    static func text(_ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8") -> Response {
        Response(status: status, headers: [.contentType: type], body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    /// To be kept as a file.
    static func csv(_ text: String, name: String) -> Response {
        var response = Response.text(text, type: "text/csv; charset=utf-8")
        response.headers[.contentDisposition] = "attachment; filename=\"postern-\(name).csv\""
        return response
    }

    static func html(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
        .text(text, status: status, type: "text/html; charset=utf-8")
    }

    /// After a form: the page to look at, which a reload does not send again (RFC 9110 §15.4.4).
    static func seeOther(_ path: String) -> Response {
        Response(status: .seeOther, headers: [.location: path])
    }

    /// As `--json` prints it: sorted, in snake case.
    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        guard let data = try? encoder.encode(value) else { return .text("{}", status: .internalServerError) }
        return Response(
            status: status, headers: [.contentType: "application/json; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data + [UInt8(ascii: "\n")])))
    }
}

extension ControlFailure {
    /// As HTTP tells it.
    var status: HTTPResponse.Status {
        switch code {
        case .badData, .noInput: .unprocessableContent
        case .temporary: .serviceUnavailable
        case .noPermission: .forbidden
        case .unavailable, .cannotCreate, .inputOutput, .protocolMismatch, .configuration: .internalServerError
        }
    }
}
