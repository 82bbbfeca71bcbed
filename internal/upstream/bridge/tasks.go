package bridge

import (
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func (c *conn) taskFlight(m mcp.Message) *flight { return nil }

func (l *listener) wantsTask(params []byte) bool { return false }

func (c *conn) ackTasks(from upstream.Caller, ids []string) []string { return nil }

func (c *conn) taskNotification(l *listener, method string, params []byte) (string, []byte, bool) {
	return method, params, true
}
