package demo

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// askKey is the key of the one question in inputRequests.
const askKey = "name"

// askParams are those of elicitation/create. The mode is left out: that means
// a form in every revision.
const askParams = `{"message":"What name shall the demo greet you by?",` +
	`"requestedSchema":{"type":"object","properties":{"name":{"type":"string","title":"Name","description":"Any name will do","minLength":1,"maxLength":80}},"required":["name"]}}`

// askName greets whoever answers. A modern client gets input_required and
// calls again with the answer; a legacy client is asked while it waits.
func askName(ctx context.Context, args *arguments, from upstream.Caller, c upstream.Client) (upstream.Answer, error) {
	if err := args.done(); err != nil {
		return upstream.Answer{}, err
	}
	if !from.Capabilities.Form {
		return cannotBeAsked(from)
	}
	if from.Era == mcp.Legacy {
		if c == nil {
			return upstream.Answer{}, upstream.ErrNotExpressible
		}
		reply, refused, err := c.Ask(ctx, mcp.MethodElicit, []byte(askParams))
		switch {
		case err != nil:
			return upstream.Answer{}, err
		case refused != nil:
			return answerText("The client did not take the question, so nobody was asked.", nil, true), nil
		}
		a, _ := greet(reply)
		return a, nil
	}
	if from.Resume != nil && len(from.Resume.Responses) > 0 {
		if responses, err := strictjson.SplitObject(from.Resume.Responses); err == nil {
			if reply, ok := responses.Get(askKey); ok {
				if a, usable := greet(reply); usable {
					return a, nil
				}
			}
		}
	}
	// Asked for the first time, or answered by something else than a name.
	request := strictjson.Object{}.With("method", quote(mcp.MethodElicit)).With("params", []byte(askParams)).Append(nil)
	return upstream.Answer{
		Kind:     mcp.ResultInputRequired,
		Result:   mcp.EmptyObject(),
		Requests: strictjson.Object{}.With(askKey, request).Append(nil),
	}, nil
}

// cannotBeAsked tells a client that did not declare form elicitation.
func cannotBeAsked(from upstream.Caller) (upstream.Answer, error) {
	if from.Era == mcp.Modern {
		return upstream.Answer{}, &mcp.Error{
			Code: mcp.CodeMissingCapability, Message: "Missing required client capability",
			Data: []byte(`{"requiredCapabilities":{"elicitation":{"form":{}}}}`),
		}
	}
	return answerText("This client did not declare elicitation, so it cannot be asked for a name.", nil, true), nil
}

// greet turns an ElicitResult into the tool's result. usable is false when
// the answer is neither a name nor a refusal.
func greet(reply []byte) (a upstream.Answer, usable bool) {
	unusable := answerText("The answer was not a name of 1 to 80 characters: call again.", nil, true)
	o, err := strictjson.SplitObject(reply)
	if err != nil {
		return unusable, false
	}
	switch action, _ := mcp.Text(o, "action", 16); action {
	case "decline":
		return answerText("You would rather not say. That is fine.", nil, false), true
	case "cancel":
		return answerText("You closed the question without an answer.", nil, false), true
	case "accept":
	default:
		return unusable, false
	}
	content, ok := o.Get("content")
	if !ok || strictjson.TypeOf(content) != strictjson.TypeObject {
		return unusable, false
	}
	fields, err := strictjson.SplitObject(content)
	if err != nil {
		return unusable, false
	}
	name, ok := mcp.Text(fields, "name", MaxName*utf8.UTFMax)
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); !ok || n == 0 || n > MaxName || strings.ContainsFunc(name, hidden) {
		return unusable, false
	}
	return answerText("Hello, "+name+". You were asked through the gateway, and it saw your answer before this server did.", nil, false), true
}

// hidden reports a character that does not show, or changes how others do.
func hidden(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
