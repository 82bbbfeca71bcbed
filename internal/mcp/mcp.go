// Package mcp is the wire: JSON-RPC envelopes, method names, protocol versions,
// header encodings and error codes of the Model Context Protocol, as the
// specification pages print them. One file holds what one protocol era adds.
//
// Threat: two parsers that read one message differently. This package is the
// only reader of envelopes; it sits on the strict JSON reader and keeps every
// value as the bytes it came as, so that what is judged is what is forwarded.
//
// It guarantees that a decoded message has exactly one shape (request,
// notification, result or error), one method, one ID, and no member that a
// lenient peer could read differently. It does not know what a method means,
// who may call it, or whether its parameters fit a schema.
package mcp

import "strings"

// Era tells the two shapes of the protocol apart (2026-07-28, "Versioning").
type Era uint8

// The zero Era is neither and is refused everywhere.
const (
	// Legacy versions open with initialize and hold a session.
	Legacy Era = iota + 1
	// Modern versions are stateless and carry metadata on each request.
	Modern
)

// String returns "legacy", "modern" or "unknown".
func (e Era) String() string {
	switch e {
	case Legacy:
		return "legacy"
	case Modern:
		return "modern"
	}
	return "unknown"
}

// Version is a protocol revision, a date such as "2025-11-25". Dates compare
// as strings.
type Version string

// The revisions whose rules this package keeps.
const (
	V20250326 Version = "2025-03-26"
	V20250618 Version = "2025-06-18"
	V20251125 Version = "2025-11-25"
	V20260728 Version = "2026-07-28"
)

// LatestLegacy is what an initialize handshake offers first.
const LatestLegacy = V20251125

// LatestModern is what a modern request declares.
const LatestModern = V20260728

// DefaultFloor is the oldest revision spoken unless the operator lowers it.
const DefaultFloor = V20250618

// Versions returns every revision this package can keep the rules of, newest
// first.
func Versions() []Version { return []Version{V20260728, V20251125, V20250618, V20250326} }

// Supported returns the revisions at or above floor, newest first.
func Supported(floor Version) []Version {
	var out []Version
	for _, v := range Versions() {
		if v >= floor {
			out = append(out, v)
		}
	}
	return out
}

// Known reports whether v is a revision of Versions at or above floor.
func Known(v, floor Version) bool {
	for _, w := range Versions() {
		if w == v {
			return v >= floor
		}
	}
	return false
}

// EraOf returns the era of a revision; a date after the last legacy revision
// is modern.
func EraOf(v Version) Era {
	if v > V20251125 {
		return Modern
	}
	return Legacy
}

// Methods of both eras. The names are the specification's.
const (
	MethodInitialize             = "initialize"
	MethodPing                   = "ping"
	MethodDiscover               = "server/discover"
	MethodToolsList              = "tools/list"
	MethodToolsCall              = "tools/call"
	MethodPromptsList            = "prompts/list"
	MethodPromptsGet             = "prompts/get"
	MethodResourcesList          = "resources/list"
	MethodResourcesTemplatesList = "resources/templates/list"
	MethodResourcesRead          = "resources/read"
	MethodResourcesSubscribe     = "resources/subscribe"
	MethodResourcesUnsubscribe   = "resources/unsubscribe"
	MethodComplete               = "completion/complete"
	MethodSetLevel               = "logging/setLevel"
	MethodListen                 = "subscriptions/listen"
	MethodTasksGet               = "tasks/get"
	MethodTasksUpdate            = "tasks/update"
	MethodTasksCancel            = "tasks/cancel"
	MethodTasksResult            = "tasks/result"
	MethodTasksList              = "tasks/list"
	MethodSampling               = "sampling/createMessage"
	MethodElicit                 = "elicitation/create"
	MethodRootsList              = "roots/list"

	NotifyInitialized               = "notifications/initialized"
	NotifyCancelled                 = "notifications/cancelled"
	NotifyProgress                  = "notifications/progress"
	NotifyMessage                   = "notifications/message"
	NotifyToolsChanged              = "notifications/tools/list_changed"
	NotifyPromptsChanged            = "notifications/prompts/list_changed"
	NotifyResourcesChanged          = "notifications/resources/list_changed"
	NotifyResourceUpdated           = "notifications/resources/updated"
	NotifyRootsChanged              = "notifications/roots/list_changed"
	NotifyElicitationComplete       = "notifications/elicitation/complete"
	NotifySubscriptionAck           = "notifications/subscriptions/acknowledged"
	NotifyTaskStatus                = "notifications/tasks/status"
	NotifyTask                      = "notifications/tasks"
	ExtensionTasks                  = "io.modelcontextprotocol/tasks"
	MetaProtocolVersion             = "io.modelcontextprotocol/protocolVersion"
	MetaClientInfo                  = "io.modelcontextprotocol/clientInfo"
	MetaClientCapabilities          = "io.modelcontextprotocol/clientCapabilities"
	MetaServerInfo                  = "io.modelcontextprotocol/serverInfo"
	MetaLogLevel                    = "io.modelcontextprotocol/logLevel"
	MetaSubscriptionID              = "io.modelcontextprotocol/subscriptionId"
	MetaRelatedTask                 = "io.modelcontextprotocol/related-task"
	MetaProgressToken               = "progressToken"
	ResultComplete                  = "complete"
	ResultInputRequired             = "input_required"
	ResultTask                      = "task"
	HeaderVersion                   = "Mcp-Protocol-Version"
	HeaderMethod                    = "Mcp-Method"
	HeaderName                      = "Mcp-Name"
	HeaderSession                   = "Mcp-Session-Id"
	HeaderParamPrefix               = "Mcp-Param-"
	HeaderLastEventID               = "Last-Event-Id"
	ContentJSON                     = "application/json"
	ContentEventStream              = "text/event-stream"
	headerBase64Prefix              = "=?base64?"
	headerBase64Suffix              = "?="
	maxSafeInteger            int64 = 1<<53 - 1
)

// Route says which requests a client of an era may send and what names their
// target.
type Route struct {
	Era Era
	// Name is the member of params that names the target: "name", "uri",
	// "taskId" or empty.
	Name string
	// Header reports that Mcp-Name must carry the target (2026-07-28,
	// "Standard Request Headers"; SEP-2663 for tasks).
	Header bool
	// Inputs reports that the method may answer input_required and take
	// inputResponses and requestState ("Supported Requests").
	Inputs bool
	// Cacheable reports that a complete result carries ttlMs and cacheScope.
	Cacheable bool
	// List names the array member of a list result.
	List string
}

// RouteOf returns the route of a request method in an era; ok is false for a
// method that a client of that era may not send, which includes every method
// nobody has heard of.
func RouteOf(e Era, method string) (r Route, ok bool) {
	r.Era = e
	switch method {
	case MethodToolsList:
		r.Cacheable, r.List = true, "tools"
	case MethodPromptsList:
		r.Cacheable, r.List = true, "prompts"
	case MethodResourcesList:
		r.Cacheable, r.List = true, "resources"
	case MethodResourcesTemplatesList:
		r.Cacheable, r.List = true, "resourceTemplates"
	case MethodToolsCall, MethodPromptsGet:
		r.Name, r.Header, r.Inputs = "name", true, true
	case MethodResourcesRead:
		r.Name, r.Header, r.Inputs, r.Cacheable = "uri", true, true, true
	case MethodComplete:
	case MethodTasksGet, MethodTasksCancel:
		r.Name, r.Header = "taskId", true
	case MethodDiscover:
		r.Cacheable = true
		return r, e == Modern
	case MethodListen:
		return r, e == Modern
	case MethodTasksUpdate:
		r.Name, r.Header = "taskId", true
		return r, e == Modern
	case MethodInitialize, MethodPing, MethodSetLevel:
		return r, e == Legacy
	case MethodResourcesSubscribe, MethodResourcesUnsubscribe:
		r.Name = "uri"
		return r, e == Legacy
	case MethodTasksResult:
		r.Name = "taskId"
		return r, e == Legacy
	case MethodTasksList:
		r.List = "tasks"
		return r, e == Legacy
	default:
		return Route{}, false
	}
	return r, e == Legacy || e == Modern
}

// LogLevels are the RFC 5424 severities by name, least severe first.
func LogLevels() []string {
	return []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
}

// LogRank returns the severity rank of a level, -1 when it is not one.
func LogRank(level string) int {
	for i, l := range LogLevels() {
		if l == level {
			return i
		}
	}
	return -1
}

// IsNotification reports whether method names a notification.
func IsNotification(method string) bool { return strings.HasPrefix(method, "notifications/") }
