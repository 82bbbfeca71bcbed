// Package oauthservertest is an authorization server's flow in memory, for tests
// of what stands around one: the consent and its pages.
//
// Threat: a test of the consent that passes because the flow behind it was
// lenient. It guarantees that a request serves once and that a code is made for
// somebody who signed in only. It makes no tokens, knows no protocol and keeps
// nothing.
package oauthservertest

import (
	"context"
	"net/url"
	"slices"
	"sync"

	"github.com/munjigi/munjigi/internal/oauthserver"
)

// Flow implements oauthserver.Flow in memory. Its zero value is empty.
type Flow struct {
	mu        sync.Mutex
	askings   map[string]oauthserver.Asking
	approvals []Approved
	withdrawn []string
}

// Approved is one code that was made.
type Approved struct {
	oauthserver.Approval
	Asking oauthserver.Asking
}

// Add puts a request.
func (f *Flow) Add(a oauthserver.Asking) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.askings == nil {
		f.askings = map[string]oauthserver.Asking{}
	}
	f.askings[a.ID] = a
}

// Codes are the codes that were made, in order.
func (f *Flow) Codes() []Approved {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.approvals)
}

// Withdrawn are the clients whose grants were ended.
func (f *Flow) Withdrawn() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.withdrawn)
}

// Asking implements oauthserver.Flow.
func (f *Flow) Asking(_ context.Context, id string) (oauthserver.Asking, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.askings[id]
	if !ok {
		return oauthserver.Asking{}, oauthserver.ErrNoAsking
	}
	return a, nil
}

// Approve implements oauthserver.Flow.
func (f *Flow) Approve(_ context.Context, id string, p oauthserver.Approval) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.askings[id]
	if !ok || !p.Who.Valid() {
		return "", oauthserver.ErrNoAsking
	}
	delete(f.askings, id)
	f.approvals = append(f.approvals, Approved{p, a})
	return a.Redirect + "?" + url.Values{"code": {"c" + id}}.Encode(), nil
}

// Refuse implements oauthserver.Flow.
func (f *Flow) Refuse(_ context.Context, id string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.askings[id]
	if !ok {
		return "", oauthserver.ErrNoAsking
	}
	delete(f.askings, id)
	return a.Redirect + "?error=access_denied", nil
}

// Withdraw implements oauthserver.Flow.
func (f *Flow) Withdraw(_ context.Context, _, _, client string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withdrawn = append(f.withdrawn, client)
	return 0, nil
}
