// Package strictjson is the one reader of JSON in the gateway.
//
// The threat is disagreement: a message that one parser reads one way and
// another parser reads another way is judged as the first and executed as the
// second. Duplicate member names (first or last wins), names that differ only
// in case, lone surrogates, invalid UTF-8, bytes after the value and lenient
// numbers are how such messages are built. So there is one reader, it accepts
// a subset of RFC 8259 on which parsers agree, and what is forwarded are the
// bytes that it accepted.
//
// What Validate guarantees of an accepted text: it is one JSON value in valid
// UTF-8 with nothing but white space around it; strings hold no raw control
// character and no \u escape of half a surrogate pair; no object, at any
// depth, has two members whose names are equal after unescaping; size, depth
// and number of members are within the given Limits. Work and memory are
// linear in the size of the text, whatever the text is: large objects are
// checked for duplicates with a hash that is seeded anew for each text.
// Numbers are checked for their grammar and stay the bytes that they came as.
//
// What it does not do: it gives numbers no value and no range, does not
// normalise Unicode, and does not refuse names that differ only in case, since
// arguments and schemas may legally have them. For members of a protocol,
// FoldedDuplicate and UnexpectedCase find those. The functions that take text
// apart (SplitObject, SplitArray, Compact) trust that it was validated: on
// other input they return an error or meaningless bytes, and never panic.
package strictjson

import (
	"fmt"
)

// MaxDepth is the deepest nesting that any Limits can allow; a larger
// Limits.Depth counts as MaxDepth.
const MaxDepth = 1024

// MaxBytes is the longest text in bytes that any Limits can allow; a larger
// Limits.Bytes counts as MaxBytes.
const MaxBytes = 1 << 30

// Limits bound one text. A field that is zero or negative refuses every text.
type Limits struct {
	// Bytes is the longest text, in bytes.
	Bytes int
	// Depth is how many arrays and objects may be open at once.
	Depth int
	// Members is how many object members and array elements the text may
	// have in all.
	Members int
}

// Default returns the limits of one protocol message: 4 MiB, depth 64 and
// 200,000 members.
func Default() Limits {
	return Limits{Bytes: 4 << 20, Depth: 64, Members: 200_000}
}

// Kind says why a text was refused. The set is closed.
type Kind uint8

// The kinds of refusal. The zero Kind belongs to no error.
const (
	_             Kind = iota
	KindSyntax         // a byte that the grammar does not allow here
	KindTruncated      // the text ends inside a value, or is empty
	KindTrailing       // something follows the value
	KindBOM            // the text begins with a byte order mark
	KindUTF8           // a string is not valid UTF-8
	KindSurrogate      // a \u escape is half of a surrogate pair
	KindEscape         // an escape that JSON does not have
	KindControl        // a raw control character in a string
	KindNumber         // a number that JSON does not have
	KindDuplicate      // two members of one object have the same name
	KindSize           // more bytes than Limits.Bytes
	KindDepth          // deeper than Limits.Depth
	KindMembers        // more members and elements than Limits.Members
	KindLimits         // a limit is zero: nothing is accepted
	KindType           // a value of another type than the caller asked for
)

// String returns the stable kebab-case code of the kind.
func (k Kind) String() string {
	switch k {
	case KindSyntax:
		return "json-syntax"
	case KindTruncated:
		return "json-truncated"
	case KindTrailing:
		return "json-trailing-bytes"
	case KindBOM:
		return "json-byte-order-mark"
	case KindUTF8:
		return "json-invalid-utf8"
	case KindSurrogate:
		return "json-lone-surrogate"
	case KindEscape:
		return "json-invalid-escape"
	case KindControl:
		return "json-control-character"
	case KindNumber:
		return "json-invalid-number"
	case KindDuplicate:
		return "json-duplicate-name"
	case KindSize:
		return "json-too-large"
	case KindDepth:
		return "json-too-deep"
	case KindMembers:
		return "json-too-many-members"
	case KindLimits:
		return "json-limits-unset"
	case KindType:
		return "json-wrong-type"
	}
	return "json-unknown"
}

// reason returns the public text of the kind: what is wrong, and so what to
// send instead.
func (k Kind) reason() string {
	switch k {
	case KindSyntax:
		return "not valid JSON"
	case KindTruncated:
		return "the JSON text ends too early"
	case KindTrailing:
		return "only one JSON value may be sent, and something follows it"
	case KindBOM:
		return "JSON must be sent without a byte order mark"
	case KindUTF8:
		return "JSON strings must be valid UTF-8"
	case KindSurrogate:
		return "\\u escapes of surrogates must come in pairs"
	case KindEscape:
		return "a string has an escape that JSON does not have"
	case KindControl:
		return "control characters in strings must be escaped"
	case KindNumber:
		return "a number is not written as JSON demands"
	case KindDuplicate:
		return "an object has two members with the same name; send each name once"
	case KindSize:
		return "the JSON text is larger than allowed"
	case KindDepth:
		return "the JSON text is nested deeper than allowed"
	case KindMembers:
		return "the JSON text has more members than allowed"
	case KindLimits:
		return "no JSON is accepted here until its limits are configured"
	case KindType:
		return "the JSON value has another type than expected"
	}
	return "the JSON text is refused"
}

// Error is why a text was refused. None of its texts quotes the input, so all
// of them may be shown to whoever sent it.
type Error struct {
	// Offset is the byte offset of the refusal, 0 to the length of the text.
	Offset int
	// Kind is the reason as a closed code.
	Kind Kind
}

// Reason returns the public reason without the offset.
func (e *Error) Reason() string { return e.Kind.reason() }

// Error returns the public reason and the byte offset.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (byte %d)", e.Kind.reason(), e.Offset)
}

// Type is the type of a JSON value. The zero Type is TypeInvalid.
type Type uint8

// The types of RFC 8259 section 3, with both Booleans as one.
const (
	TypeInvalid Type = iota
	TypeObject
	TypeArray
	TypeString
	TypeNumber
	TypeBool
	TypeNull
)

// String returns the name of the type as JSON Schema writes it.
func (t Type) String() string {
	switch t {
	case TypeObject:
		return "object"
	case TypeArray:
		return "array"
	case TypeString:
		return "string"
	case TypeNumber:
		return "number"
	case TypeBool:
		return "boolean"
	case TypeNull:
		return "null"
	}
	return "invalid"
}

// TypeOf returns the type of a validated value from its first byte. It does
// not look further into it; of no text at all it returns TypeInvalid.
func TypeOf(raw []byte) Type {
	i := skipSpace(raw, 0)
	if i == len(raw) {
		return TypeInvalid
	}
	switch c := raw[i]; c {
	case '{':
		return TypeObject
	case '[':
		return TypeArray
	case '"':
		return TypeString
	case 't', 'f':
		return TypeBool
	case 'n':
		return TypeNull
	default:
		if c == '-' || isDigit(c) {
			return TypeNumber
		}
	}
	return TypeInvalid
}
