package cedar

import (
	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/mcp"
)

// Actions of policies.
const (
	actionConnect   = "connect"
	actionList      = "list"
	actionCall      = "call"
	actionGet       = "get"
	actionRead      = "read"
	actionComplete  = "complete"
	actionSubscribe = "subscribe"
	actionListen    = "listen"
	actionSample    = "sample"
	actionElicit    = "elicit"
	actionRoots     = "roots"
)

func actions() []string {
	return []string{actionConnect, actionList, actionCall, actionGet, actionRead, actionComplete, actionSubscribe, actionListen, actionSample, actionElicit, actionRoots}
}

func actionUID(name string) types.EntityUID {
	return types.NewEntityUID(typeAction, types.String(name))
}

// rule is what policy makes of an MCP method. The zero rule denies.
type rule struct {
	action string
	// kinds are the types that the target may be of. Where the method does not
	// tell them apart, a forbid of either holds.
	kinds []types.EntityType
	// tasks says that the result may be that of any tool of the server.
	tasks bool
	// arguments says that the context has the arguments.
	arguments bool
}

// rules is the one table from methods to actions. A method without a row is
// denied. An answer to a server's own request is judged as the call that the
// server works on.
func rules() map[string]rule {
	server := []types.EntityType{typeServer}
	resource := []types.EntityType{typeResource}
	task := []types.EntityType{typeTask}
	return map[string]rule{
		mcp.MethodInitialize:   {action: actionConnect, kinds: server},
		mcp.MethodPing:         {action: actionConnect, kinds: server},
		mcp.MethodDiscover:     {action: actionConnect, kinds: server},
		mcp.MethodSetLevel:     {action: actionConnect, kinds: server},
		mcp.NotifyInitialized:  {action: actionConnect, kinds: server},
		mcp.NotifyCancelled:    {action: actionConnect, kinds: server},
		mcp.NotifyProgress:     {action: actionConnect, kinds: server},
		mcp.NotifyRootsChanged: {action: actionConnect, kinds: server},

		mcp.MethodToolsList:              {action: actionList, kinds: server},
		mcp.MethodPromptsList:            {action: actionList, kinds: server},
		mcp.MethodResourcesList:          {action: actionList, kinds: server},
		mcp.MethodResourcesTemplatesList: {action: actionList, kinds: server},
		mcp.MethodTasksList:              {action: actionList, kinds: server, tasks: true},

		mcp.MethodToolsCall:     {action: actionCall, kinds: []types.EntityType{typeTool}, arguments: true},
		mcp.MethodPromptsGet:    {action: actionGet, kinds: []types.EntityType{typePrompt}, arguments: true},
		mcp.MethodResourcesRead: {action: actionRead, kinds: resource},

		mcp.MethodComplete:             {action: actionComplete, kinds: []types.EntityType{typePrompt, typeResource}},
		mcp.MethodResourcesSubscribe:   {action: actionSubscribe, kinds: resource},
		mcp.MethodResourcesUnsubscribe: {action: actionSubscribe, kinds: resource},
		mcp.MethodListen:               {action: actionListen, kinds: server},

		// What a server asks of the caller's client.
		mcp.MethodSampling:  {action: actionSample, kinds: server},
		mcp.MethodElicit:    {action: actionElicit, kinds: server},
		mcp.MethodRootsList: {action: actionRoots, kinds: server},

		mcp.MethodTasksGet:    {action: actionGet, kinds: task, tasks: true},
		mcp.MethodTasksResult: {action: actionGet, kinds: task, tasks: true},
		mcp.MethodTasksUpdate: {action: actionCall, kinds: task, tasks: true},
		mcp.MethodTasksCancel: {action: actionCall, kinds: task, tasks: true},
	}
}

// useOf is the action without which a target of type t is not listed; empty
// for types that no list of the server's shows by name.
func useOf(t types.EntityType) string {
	switch t {
	case typeTool:
		return actionCall
	case typePrompt:
		return actionGet
	case typeResource:
		return actionRead
	}
	return ""
}
