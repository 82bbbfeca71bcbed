package demo

import (
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

const (
	welcomeURI = "munjigi://demo/welcome"
	unitURI    = "munjigi://demo/unit/"

	resourceDefinitions = `[{"uri":"` + welcomeURI + `","name":"welcome","title":"Welcome",` +
		`"description":"What this demonstration shows, and what to try.","mimeType":"text/markdown"}]`

	templateDefinitions = `[{"uriTemplate":"` + unitURI + `{unit}","name":"unit","title":"A unit of measure",` +
		`"description":"What convert_units knows of one unit.","mimeType":"text/plain"}]`

	promptDefinitions = `[{"name":"introduce_munjigi","title":"Introduce Munjigi",` +
		`"description":"Asks the model to explain the gateway to somebody.",` +
		`"arguments":[{"name":"reader","description":"developer, operator or auditor","required":false}]}]`

	welcome = `# Welcome

You are reading this through Munjigi. The request was authenticated, decoded
once, checked, authorized and recorded before this text was asked for, and the
text was looked at again before it came to you.

Try these:

- count_words with any text: a call that works.
- ask_name: a call that asks you back before it answers.
- slow_count: a call that reports progress and can be cancelled.
- ` + RefusedTool + `: a call that is refused. The refusal carries an ID;
  ` + "`munjigi why ID`" + ` shows every stage and its verdict.
- ` + PoisonedTool + `: a poisoned tool. You do not see it in the list, because it
  is held; ` + "`munjigi tools diff`" + ` shows the operator why.
- ` + unitURI + `km: a resource by template.
`
)

// readers are the values that the prompt's argument takes, and what each
// wants to know.
var readers = [][2]string{
	{"developer", "Explain it to a developer who has three local servers in an editor's config and wants them guarded without much work."},
	{"operator", "Explain it to an engineer who gives many people access to many servers: identity, policy, the record, and how it is run."},
	{"auditor", "Explain it to an auditor: what is decided, what is recorded, and how one refused call is traced by its ID."},
}

// explainGateway says what the composition told New.
func (s *Server) explainGateway(args *arguments) (upstream.Answer, error) {
	if err := args.done(); err != nil {
		return upstream.Answer{}, err
	}
	return answerText(s.explanation(), nil, false), nil
}

func (s *Server) explanation() string {
	var b strings.Builder
	b.WriteString("Munjigi stands between MCP clients and MCP servers. Each message passes one visible pipeline: accept, authenticate, " +
		"admit, decode, resolve, validate, authorize, inspect, clear, send, inspect the result, release. Nothing reaches a server, or comes " +
		"back, without a decision that is recorded.\n")
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString("\n" + title + "\n")
		for _, l := range lines {
			b.WriteString("- " + l + "\n")
		}
	}
	section("Protected here:", s.o.Protected)
	section("Not protected here:", s.o.Open)
	b.WriteString("\nThis server is a demonstration: it touches no file and no network.\n")
	return b.String()
}

// readResource reads the welcome page or one unit.
func (s *Server) readResource(params strictjson.Object, from upstream.Caller) (upstream.Answer, error) {
	uri, ok := mcp.Text(params, "uri", 2048)
	if !ok {
		return upstream.Answer{}, invalid("params.uri must be a string")
	}
	if uri == welcomeURI {
		return contents(uri, "text/markdown", welcome), nil
	}
	if name, ok := strings.CutPrefix(uri, unitURI); ok {
		if u, ok := findUnit(name); ok {
			text := u.name + ": " + u.text + ", a unit of " + u.kind + ". convert_units takes it to " + strings.Join(sameKind(u), ", ") + ".\n"
			return contents(uri, "text/plain", text), nil
		}
	}
	e := &mcp.Error{Code: mcp.CodeInvalidParams, Message: "Resource not found",
		Data: strictjson.Object{}.With("uri", quote(uri)).Append(nil)}
	if from.Era == mcp.Legacy {
		e.Code = mcp.CodeResourceNotFound
	}
	return upstream.Answer{}, e
}

func sameKind(u unit) []string {
	var out []string
	for _, v := range units {
		if v.kind == u.kind && v.name != u.name {
			out = append(out, v.name)
		}
	}
	return out
}

func contents(uri, mime, text string) upstream.Answer {
	one := strictjson.Object{}.With("uri", quote(uri)).With("mimeType", quote(mime)).With("text", quote(text)).Append(nil)
	return upstream.Answer{Result: strictjson.Object{}.With("contents", append(append([]byte{'['}, one...), ']')).Append(nil)}
}

// getPrompt gives the one prompt.
func getPrompt(params strictjson.Object) (upstream.Answer, error) {
	if name, _ := mcp.Text(params, "name", 128); name != "introduce_munjigi" {
		return upstream.Answer{}, invalid("Unknown prompt: list the prompts to see their names")
	}
	raw, there := params.Get("arguments")
	args, err := readArguments(raw, there)
	if err != nil {
		return upstream.Answer{}, invalid(err.Error())
	}
	reader, err := args.text("reader", 32, false)
	if err == nil {
		err = args.done()
	}
	if err != nil {
		return upstream.Answer{}, invalid(err.Error())
	}
	if reader == "" {
		reader = readers[0][0]
	}
	for _, r := range readers {
		if r[0] != reader {
			continue
		}
		block := strictjson.Object{}.With("type", quote("text")).
			With("text", quote("Call explain_gateway and read "+welcomeURI+". "+r[1]+" Use plain words and no more than ten sentences.")).Append(nil)
		message := strictjson.Object{}.With("role", quote("user")).With("content", block).Append(nil)
		return upstream.Answer{Result: strictjson.Object{}.
			With("description", quote("Introduce Munjigi to: "+reader)).
			With("messages", append(append([]byte{'['}, message...), ']')).Append(nil)}, nil
	}
	return upstream.Answer{}, invalid("reader must be developer, operator or auditor")
}

// complete offers units for the template and readers for the prompt.
func complete(params strictjson.Object) (upstream.Answer, error) {
	ref, err := member(params, "ref")
	if err != nil {
		return upstream.Answer{}, err
	}
	argument, err := member(params, "argument")
	if err != nil {
		return upstream.Answer{}, err
	}
	name, ok1 := mcp.Text(argument, "name", 64)
	prefix, ok2 := mcp.Text(argument, "value", 256)
	if !ok1 || !ok2 {
		return upstream.Answer{}, invalid("params.argument needs a name and a value")
	}
	var values []string
	switch kind, _ := mcp.Text(ref, "type", 32); kind {
	case "ref/prompt":
		if prompt, _ := mcp.Text(ref, "name", 128); prompt != "introduce_munjigi" {
			return upstream.Answer{}, invalid("Unknown prompt: list the prompts to see their names")
		}
		if name == "reader" {
			for _, r := range readers {
				if strings.HasPrefix(r[0], prefix) {
					values = append(values, r[0])
				}
			}
		}
	case "ref/resource":
		if uri, _ := mcp.Text(ref, "uri", 2048); uri != unitURI+"{unit}" {
			return upstream.Answer{}, invalid("Unknown template: list the templates to see them")
		}
		if name == "unit" {
			values = unitNames(prefix)
		}
	default:
		return upstream.Answer{}, invalid("params.ref must be a prompt or a resource template")
	}
	list := []byte{'['}
	for i, v := range values {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, quote(v)...)
	}
	inner := strictjson.Object{}.With("values", append(list, ']')).With("total", number(len(values))).With("hasMore", []byte("false")).Append(nil)
	return upstream.Answer{Result: strictjson.Object{}.With("completion", inner).Append(nil)}, nil
}

func member(params strictjson.Object, name string) (strictjson.Object, error) {
	raw, ok := params.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return nil, invalid("params." + name + " must be an object")
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, invalid("params." + name + " must be an object")
	}
	return o, nil
}
