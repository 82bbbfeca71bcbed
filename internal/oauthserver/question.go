package oauthserver

import (
	"errors"
	"time"
)

// ConsentLife is how long what a person let a client have stands without being
// asked again.
const ConsentLife = 90 * 24 * time.Hour

// Question is an Asking as it is put to the person at one browser.
type Question struct {
	Asking
	// Before is what this person lets this client have at this resource; nil
	// where nothing stands, and for a browser that nobody signed in at.
	Before *Decision
	// Wider are the scopes that go beyond Before; nil without Before.
	Wider []string
	// Changed says that the client describes itself in another way than it did
	// when Before was given, and NewRedirect that it sends the code elsewhere.
	Changed, NewRedirect bool
	// Another says that this browser approved already, and that somebody else
	// signed in than the one who had used it: they are asked anew.
	Another bool
	// Approved are the scopes that this browser approved before this person
	// signed in for it. The code may be made now. nil means: ask.
	Approved []string
}

// Decision is what one person lets one client have at one resource.
type Decision struct {
	Client, Name, Host string
	Kind               Kind
	Resource           string
	Scopes             []string
	Redirects          []string
	Since, Expires     time.Time
}

// Errors of an answer to a Question.
var (
	// ErrOtherBrowser says that the request was first seen by another browser.
	// People are told what they are told for ErrNoAsking.
	ErrOtherBrowser = errors.New("this request belongs to another browser")
	// ErrNothing says that an approval names no scope.
	ErrNothing = errors.New("nothing was ticked: choose at least one permission, or do not allow the client")
)
