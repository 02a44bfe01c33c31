import Foundation

/// As much of JSON Schema (2020-12) as docs/json.schema.json uses; what it does not know it refuses.
struct JSONSchema {
    private let root: [String: Any]

    init(contentsOf path: String) throws {
        let value = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: path)))
        guard let root = value as? [String: Any] else { throw NotASchema() }
        self.root = root
    }

    struct NotASchema: Error {}

    var verbs: [String: Any] { root["verbs"] as? [String: Any] ?? [:] }

    /// What is wrong with the value that a verb printed, each with its place.
    func problems(of verb: String, _ value: Any) -> [String] {
        guard let schema = verbs[verb] as? [String: Any] else { return ["there is no schema for \(verb)"] }
        return problems(value, schema, at: verb)
    }

    private static let known: Set<String> = [
        "type", "properties", "required", "additionalProperties", "items", "enum", "pattern", "description", "$ref",
    ]

    private func problems(_ value: Any, _ schema: [String: Any], at place: String) -> [String] {
        let unknown = Set(schema.keys).subtracting(Self.known)
        guard unknown.isEmpty else { return ["\(place): the schema says \(unknown.sorted()), which this test does not know"] }
        if let reference = schema["$ref"] as? String {
            let name = String(reference.dropFirst("#/$defs/".count))
            guard let named = (root["$defs"] as? [String: Any])?[name] as? [String: Any] else { return ["\(place): no definition \(name)"] }
            return problems(value, named, at: place)
        }
        if let given = schema["enum"] {
            guard let choices = given as? [String] else { return ["\(place): the schema's enum is no list of words"] }
            return choices.contains(value as? String ?? "") ? [] : ["\(place): \(value) is none of \(choices)"]
        }
        switch schema["type"] as? String {
        case "object": return object(value, schema, at: place)
        case "array":
            guard let elements = value as? [Any], let items = schema["items"] as? [String: Any] else { return ["\(place): not a list"] }
            return elements.enumerated().flatMap { problems($0.element, items, at: "\(place)[\($0.offset)]") }
        case "string":
            guard let text = value as? String else { return ["\(place): \(value) is not a string"] }
            guard let pattern = schema["pattern"] as? String else { return [] }
            return text.range(of: pattern, options: .regularExpression) == nil ? ["\(place): '\(text)' does not match \(pattern)"] : []
        case "boolean":
            return Self.isBoolean(value) ? [] : ["\(place): \(value) is not true or false"]
        case "integer":
            guard let number = value as? NSNumber, !Self.isBoolean(value), number.doubleValue == number.doubleValue.rounded() else {
                return ["\(place): \(value) is not a whole number"]
            }
            return []
        case "number": return value is NSNumber && !Self.isBoolean(value) ? [] : ["\(place): \(value) is not a number"]
        default: return ["\(place): the schema names no type"]
        }
    }

    private func object(_ value: Any, _ schema: [String: Any], at place: String) -> [String] {
        guard let object = value as? [String: Any] else { return ["\(place): not an object"] }
        guard let properties = schema["properties"] as? [String: Any] else { return [] }
        let missing = (schema["required"] as? [String] ?? []).filter { object[$0] == nil }.map { "\(place): there is no \($0)" }
        return missing
            + object.sorted { $0.key < $1.key }.flatMap { key, value -> [String] in
                guard let property = properties[key] as? [String: Any] else { return ["\(place).\(key) is not documented"] }
                return problems(value, property, at: "\(place).\(key)")
            }
    }

    /// JSONSerialization hands back truths and numbers as NSNumber alike; a truth says so by its encoding.
    private static func isBoolean(_ value: Any) -> Bool {
        guard let number = value as? NSNumber else { return value is Bool }
        return String(cString: number.objCType) == "c"
    }
}
