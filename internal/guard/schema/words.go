package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of the words for one misfit.
const (
	maxFaults = 3
	maxWord   = 120 // bytes of one name, pattern or value
)

// misfitError says where a value does not fit its schema.
type misfitError struct{ cause *jsonschema.ValidationError }

// Error says little: words has the text for the caller.
func (e *misfitError) Error() string { return "the value does not fit its schema" }

// fault is one rule that one part of a value breaks.
type fault struct {
	at   []string
	rule string
}

// words tells a model what to change: the path of each fault and the rule that
// it breaks. Values of the instance are not repeated, since they may be
// secrets; names of its properties are, and what the schema itself says.
func (e *misfitError) words(what string) string {
	all := e.faults()
	var lines []string
	for i, f := range all {
		if i == maxFaults {
			lines = append(lines, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		lines = append(lines, where(what, f.at)+" "+f.rule)
	}
	return strings.Join(lines, "; ")
}

func (e *misfitError) findings(why call.Reason, what string) []call.Finding {
	var out []call.Finding
	for i, f := range e.faults() {
		if i == maxFaults {
			break
		}
		at := "/" + what
		for _, s := range f.at {
			at += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(short(s))
		}
		out = append(out, call.Finding{Guard: Name, Reason: why, Path: at})
	}
	return out
}

func (e *misfitError) faults() []fault {
	var all []fault
	collect(e.cause, &all)
	slices.SortStableFunc(all, func(a, b fault) int { return strings.Compare(strings.Join(a.at, "\x00"), strings.Join(b.at, "\x00")) })
	return slices.CompactFunc(all, func(a, b fault) bool { return a.rule == b.rule && slices.Equal(a.at, b.at) })
}

func collect(e *jsonschema.ValidationError, all *[]fault) {
	if rule := ruleOf(e); rule != "" {
		*all = append(*all, fault{e.InstanceLocation, rule})
		return
	}
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		// Of several forms the one that got furthest is what was meant.
		if best := furthest(e.Causes); best != nil && depth(best) > len(e.InstanceLocation) {
			collect(best, all)
			return
		}
		*all = append(*all, fault{e.InstanceLocation, "fits none of the " + strconv.Itoa(len(e.Causes)) + " forms that are allowed: " + either(e.Causes)})
		return
	}
	for _, c := range e.Causes {
		collect(c, all)
	}
	if len(e.Causes) == 0 {
		*all = append(*all, fault{e.InstanceLocation, "does not fit the schema"})
	}
}

func furthest(causes []*jsonschema.ValidationError) *jsonschema.ValidationError {
	var best *jsonschema.ValidationError
	for _, c := range causes {
		if best == nil || depth(c) > depth(best) {
			best = c
		}
	}
	return best
}

func depth(e *jsonschema.ValidationError) int {
	d := len(e.InstanceLocation)
	for _, c := range e.Causes {
		d = max(d, depth(c))
	}
	return d
}

// either tells the first rule of each form.
func either(causes []*jsonschema.ValidationError) string {
	var rules []string
	for _, c := range causes {
		var all []fault
		collect(c, &all)
		if len(all) > 0 && !slices.Contains(rules, all[0].rule) {
			rules = append(rules, all[0].rule)
		}
		if len(rules) == maxFaults {
			break
		}
	}
	return strings.Join(rules, ", or ")
}

// ruleOf says the rule that a leaf stands for, empty for groups.
func ruleOf(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return "must be " + joined(k.Want, "or", false) + ", not " + k.Got
	case *kind.Enum:
		return "must be one of " + values(k.Want)
	case *kind.Const:
		return "must be " + literal(k.Want)
	case *kind.Format:
		if u, ok := k.Err.(*undeclaredError); ok {
			known := "none"
			if len(u.known) > 0 {
				known = joined(u.known, "and", true)
			}
			return "has no property " + joined(u.names, "or", true) + "; the properties are: " + known
		}
		return "must be a valid " + short(k.Want)
	case *kind.Required:
		return "lacks the required " + joined(k.Missing, "and", true)
	case *kind.Dependency:
		return "needs " + joined(k.Missing, "and", true) + " where it has " + quoted(k.Prop)
	case *kind.DependentRequired:
		return "needs " + joined(k.Missing, "and", true) + " where it has " + quoted(k.Prop)
	case *kind.AdditionalProperties:
		slices.Sort(k.Properties)
		return "has no property " + joined(k.Properties, "or", true)
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d items too many", k.Count)
	case *kind.PropertyNames:
		return "may not have a property named " + quoted(k.Property)
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %d properties, not %d", k.Want, k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d properties, not %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d items, not %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items, not %d", k.Want, k.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("has equal items: %d and %d", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains, *kind.MinContains:
		return "lacks an item that the schema asks for"
	case *kind.MaxContains:
		return fmt.Sprintf("may have at most %d such items, not %d", k.Want, len(k.Got))
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters, not %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, not %d", k.Want, k.Got)
	case *kind.Pattern:
		return "must match the pattern " + quoted(k.Want)
	case *kind.Minimum:
		return "must be at least " + short(k.Want.RatString())
	case *kind.Maximum:
		return "must be at most " + short(k.Want.RatString())
	case *kind.ExclusiveMinimum:
		return "must be more than " + short(k.Want.RatString())
	case *kind.ExclusiveMaximum:
		return "must be less than " + short(k.Want.RatString())
	case *kind.MultipleOf:
		return "must be a multiple of " + short(k.Want.RatString())
	case *kind.FalseSchema:
		return "may not be there"
	case *kind.Not:
		return "has a form that the schema rules out"
	case *kind.OneOf:
		if len(k.Subschemas) > 1 {
			return "fits more than one form where exactly one is allowed"
		}
	}
	return ""
}

// where writes a place as a model knows it: arguments.files[2].name.
func where(what string, at []string) string {
	var b strings.Builder
	b.WriteString(what)
	for _, s := range at {
		switch {
		case s != "" && strings.Trim(s, "0123456789") == "":
			b.WriteString("[" + short(s) + "]")
		case identifier(s):
			b.WriteString("." + short(s))
		default:
			b.WriteString("[" + quoted(s) + "]")
		}
	}
	return b.String()
}

func identifier(s string) bool {
	for i, r := range s {
		if r != '_' && r != '-' && !(r < unicode.MaxASCII && (unicode.IsLetter(r) || i > 0 && unicode.IsDigit(r))) {
			return false
		}
	}
	return s != ""
}

func joined(names []string, last string, quote bool) string {
	const most = 8
	var out []string
	for i, n := range names {
		if i == most {
			out = append(out, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		if quote {
			n = quoted(n)
		}
		out = append(out, n)
	}
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:len(out)-1], ", ") + " " + last + " " + out[len(out)-1]
}

func values(vs []any) string {
	var out []string
	for _, v := range vs {
		out = append(out, literal(v))
	}
	return joined(out, "or", false)
}

func literal(v any) string {
	switch v := v.(type) {
	case string:
		return quoted(v)
	case map[string]any:
		return "the object that the schema gives"
	case []any:
		return "the array that the schema gives"
	case nil:
		return "null"
	}
	return short(fmt.Sprint(v))
}

// quoted shows a text with everything invisible escaped.
func quoted(s string) string { return strconv.QuoteToGraphic(short(s)) }

func short(s string) string {
	if len(s) > maxWord {
		return strings.ToValidUTF8(s[:maxWord], "") + "…"
	}
	return s
}
