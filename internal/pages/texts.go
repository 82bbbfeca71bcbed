package pages

import (
	"sort"
	"strconv"
	"strings"
)

// texts are all words of the pages in one language. Those with %s say what
// stands there.
type texts struct {
	Language string // BCP 47

	Skip, Account, SignedInAs string
	AtHost                    string // %s: host of the provider
	Footer, RecordID          string
	CodedHost                 string

	SignInTitle, SignInText, SignInAt                                           string
	ContinueTo                                                                  string // %s: host
	SignInFailed, SignInRefused, SignInOld, SignInDenied, ProviderDown, TooMany string
	CodeText, CodeLabel, CodeHint, CodeShow, CodeAgain, CodeWrong               string
	SignOut, SignOutText, SignedOutTitle, SignedOutText                         string
	LeaveTitle, LeaveText                                                       string

	AskTitle, AskText, AskWarning string // %s: server
	AskYes                        string // %s: host
	AskNo                         string
	Asks, Server, Decides, Scopes string
	Widens, ScopesOpen, OwnClient string
	LinkEnds                      string
	DoneTitle                     string // %s: server
	DoneText                      string
	DeclinedTitle, DeclinedText   string
	NoGrantTitle, NoGrantText     string
	GrantRefusedTitle             string
	GrantRefusedText              string // %s: server, %s: code
	GrantRefusedBare, GrantDown   string
	MixedUpTitle, MixedUpText     string

	ApproveTitle                                 string // %s: tool
	ApproveText, ApproveWarning, ApproveEscapes  string
	ApproveFor, Through, Arguments, ApproveUntil string
	Tool, Prompt, Resource                       string
	ApproveYes, ApproveNo                        string
	ApproveAgain, ApproveAgainText               string
	ApprovedTitle, ApprovedText                  string
	RefusedTitle, RefusedText                    string
	NoApprovalTitle, NoApprovalText              string
	OwnCallTitle, OwnCallText                    string
	WaitingTitle, WaitingText, WaitingNone       string

	GivenTitle, GivenText, GivenNone              string
	UsedBy, GrantedAt, Allowed, Since, Ends       string
	Lasts, LastsLong                              string
	Withdraw                                      string // %s: server
	WithdrawnTitle, WithdrawnHere, WithdrawnThere string

	ConsentTitle, ConsentText                      string
	ConsentOdd                                     string // before the spelled name
	ConsentBy, ConsentUnvouched, ConsentRegistered string
	ConsentConfigured                              string // before the client's ID
	ConsentTo, ConsentLocal, ConsentElsewhere      string
	ConsentBefore, ConsentWider, ConsentChanged    string
	ConsentNewRedirect, ConsentNew                 string
	ConsentAsks, ConsentUntick                     string
	ScopeList, ScopeRead, ScopeCall                string
	ConsentWarning, ConsentYes, ConsentYesSignIn   string
	ConsentLasts                                   string
	ConsentAnother, ConsentNothing                 string
	NoAskingTitle, NoAskingText                    string
	NotLetInTitle                                  string
	ClientsText, ClientWithdrawn                   string

	PasskeysTitle, PasskeysText, PasskeysNone     string
	PasskeySignIn, PasskeyNot, PasskeyRefused     string
	PasskeyAdd, PasskeyName, PasskeyNameHint      string
	PasskeyAdded, PasskeyAddedText                string
	PasskeyUsed, PasskeyNever, PasskeyNeedsScript string
	PasskeyRemove                                 string // %s: name
	PasskeyRemoved, PasskeyRemovedText            string
	PasskeyStale, PasskeyStaleText, PasskeyFull   string

	UnknownTitle, UnknownText string
	HostTitle, HostText       string
	FrameTitle, FrameText     string
	CookieTitle, CookieText   string
	FormTitle, FormText       string
	BrokenTitle, BrokenText   string
}

// textsFor chooses by Accept-Language (RFC 9110 12.5.4): the language of the
// greatest weight that we have, else English.
func textsFor(accept string) texts {
	type wish struct {
		lang string
		q    float64
	}
	var list []wish
	for _, part := range strings.Split(accept, ",") {
		lang, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		w := wish{lang: strings.ToLower(strings.TrimSpace(lang)), q: 1}
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, err := strconv.ParseFloat(v, 64)
			if err != nil {
				continue
			}
			w.q = q
		}
		if len(list) < 32 && w.q > 0 {
			list = append(list, w)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].q > list[j].q })
	for _, w := range list {
		switch base, _, _ := strings.Cut(w.lang, "-"); base {
		case "ko":
			return korean()
		case "en", "*":
			return english()
		}
	}
	return english()
}

func english() texts {
	return texts{
		Language: "en",

		Skip: "Skip to the content", Account: "Account", SignedInAs: "Signed in as", AtHost: "at %s",
		Footer:    "This page belongs to the gateway that your tools connect through. It never asks for a password.",
		RecordID:  "Number on the record:",
		CodedHost: "This name holds letters beyond a to z. It is shown in its coded form, because such letters can look like others.",

		SignInTitle:   "Sign in",
		SignInText:    "Sign in so that the gateway knows whose browser this is. If you did not open this page yourself or through your client, close it.",
		SignInAt:      "Your account at",
		ContinueTo:    "Continue to %s",
		SignInFailed:  "You are not signed in",
		SignInRefused: "The answer of the provider could not be accepted. Sign in again; if it happens again, tell your administrator the number below.",
		SignInOld:     "This sign-in was begun in another browser, was used already, or took longer than ten minutes. Begin again.",
		SignInDenied:  "The provider did not sign you in. Begin again, or ask your administrator whether you may use this gateway.",
		ProviderDown:  "The provider cannot be reached at the moment. Try again in a minute.",
		TooMany:       "Too many have tried to sign in just now. Wait ten seconds and try again.",
		CodeText:      "Only the person who runs this gateway can sign in here. The gateway shows a code on its own terminal; type it here, and nowhere else.",
		CodeLabel:     "Code from the terminal",
		CodeHint:      "Eight letters and digits, valid for five minutes in this browser only.",
		CodeShow:      "Show a code on the terminal",
		CodeAgain:     "Show a new code",
		CodeWrong:     "That code is not valid here: it was mistyped, used, too old, or meant for another browser. After five wrong tries a new code is needed.",
		SignOut:       "Sign out", SignOutText: "This ends your session with the gateway in this browser.",
		SignedOutTitle: "You are signed out", SignedOutText: "Your session with the gateway has ended. Your provider may still know you: sign out there too on a shared computer.",
		LeaveTitle: "You are leaving the gateway", LeaveText: "Your browser goes on to this address. If it does not, use the button.",

		AskTitle: "Allow access to %s?", AskText: "A client of yours wants to use %s on your behalf. The gateway will keep the permission for you; the client never sees it.",
		AskWarning: "Go on only if you were just using this client and expected to be asked about %s.",
		AskYes:     "Continue to %s", AskNo: "Do not allow",
		Asks: "Client", Server: "Server", Decides: "You will be asked again by", Scopes: "It asks for",
		Widens: "More than you allowed before", ScopesOpen: "What the other side suggests; look there before you agree.", OwnClient: "your own command line",
		LinkEnds:  "This link can be used once, until",
		DoneTitle: "%s may now be used for you", DoneText: "You can close this page and go back to your client. It goes on by itself, or when you repeat what you asked for.",
		DeclinedTitle: "Nothing was allowed", DeclinedText: "You can close this page. The link ends by itself.",
		NoGrantTitle:      "There is nothing here for you",
		NoGrantText:       "This link was used, has run out, or was made for somebody else. If you are signed in with another account than your client, sign out and open the link again. Otherwise call the server again from your client to get a new one.",
		GrantRefusedTitle: "Nothing was allowed",
		GrantRefusedText:  "The other side of %s answered “%s”. Call the server again from your client for a new link.",
		GrantRefusedBare:  "The other side gave no permission. Call the server again from your client for a new link.",
		GrantDown:         "The other side cannot be reached at the moment. Go back and try again in a minute.",
		MixedUpTitle:      "The answer came from the wrong place",
		MixedUpText:       "Somebody else than the side that was asked has answered. Nothing was allowed. Tell the operator of this gateway the number below.",

		ApproveTitle:   "Let this call of %s pass once?",
		ApproveText:    "A program wants to make this call and has to wait for a person. Nothing was sent yet. Read all of it: your answer holds for exactly this call and for no other.",
		ApproveWarning: "Approve only what you understand and expected. If you do not know who asked for this, or why, refuse it.",
		ApproveEscapes: "Characters that would not show, or would change how others show, are written as \\u{…}.",
		ApproveFor:     "On behalf of", Through: "Through", Arguments: "Arguments", ApproveUntil: "Silence is no. The question ends at",
		Tool: "Tool", Prompt: "Prompt", Resource: "Resource",
		ApproveYes: "Approve this call once", ApproveNo: "Refuse",
		ApproveAgain: "Sign in again", ApproveAgainText: "You signed in too long ago, or not strongly enough, to decide this. Sign in again; you come back here. If you are asked again and again, your provider does not say when or how you signed in: tell the operator.",
		ApprovedTitle: "Approved", ApprovedText: "The same call passes once if it is repeated within the next minutes. Tell whoever waits for it. You can close this page.",
		RefusedTitle: "Refused", RefusedText: "The call is not made, and repeating it does not ask you again for a while. You can close this page.",
		NoApprovalTitle: "There is nothing here for you to decide",
		NoApprovalText:  "This question was answered, has ended, or is for other people. If you are signed in with another account than you should be, sign out and open the link again.",
		OwnCallTitle:    "Somebody else has to decide this", OwnCallText: "This call is your own. Give the link to another person who may approve it.",
		WaitingTitle: "Calls that wait for you", WaitingText: "Each of these waits until somebody approves or refuses it. Silence is no.",
		WaitingNone: "No call waits for you.",

		GivenTitle: "What you allowed", GivenText: "The gateway uses these permissions for you, each for the client that you gave it to.",
		GivenNone: "You have allowed nothing. When a server needs your permission, your client shows you a link.",
		UsedBy:    "Client", GrantedAt: "Given by", Allowed: "Allowed", Since: "Since", Ends: "Ends at the latest", Lasts: "Lasts", LastsLong: "until you withdraw it or the other side ends it",
		Withdraw:       "Withdraw %s",
		WithdrawnTitle: "Withdrawn", WithdrawnHere: "The gateway has forgotten this permission. The other side did not confirm that it did: end it in your account there too.",
		WithdrawnThere: "The gateway has forgotten this permission, and the other side has ended it.",

		ConsentTitle: "Let this client in?", ConsentText: "A program wants to use the gateway in your name. It calls itself",
		ConsentOdd: "This name holds letters that can look like others. Letter by letter:",
		ConsentBy:  "Described by", ConsentUnvouched: "Your operator has not named this host: anybody may have written this description. Go on only if you know the host.",
		ConsentRegistered: "It registered itself. Nobody vouches for it, and it chose its own name.",
		ConsentConfigured: "Your operator set it up as",
		ConsentTo:         "The permission goes to",
		ConsentLocal:      "This is a program on your own computer. Any program there can wait at this address: go on only if you started this client a moment ago.",
		ConsentElsewhere:  "This is another host than the one that describes the client.",
		ConsentBefore:     "You let it in before", ConsentWider: "It asks for more this time.", ConsentChanged: "It describes itself in another way than it did then.",
		ConsentNewRedirect: "It wants the permission sent to another address than then.", ConsentNew: "new",
		ConsentAsks: "It asks to", ConsentUntick: "Untick what it should not have. A server without its tick is left out whole.",
		ScopeList: "See which tools, prompts and resources there are", ScopeRead: "Read its resources and prompts", ScopeCall: "Use its tools, also those that change or delete things",
		ConsentWarning: "Go on only if you just asked this client to connect. If somebody sent you a link to this page, do not allow it.",
		ConsentYes:     "Allow", ConsentYesSignIn: "Allow and sign in",
		ConsentLasts:   "What you allow lasts for 90 days at most; you can withdraw it at any time.",
		ConsentAnother: "You are somebody else than the person whose browser this was when it answered. Nothing was allowed yet: decide for yourself.",
		ConsentNothing: "Nothing is ticked. Tick at least one permission, or do not allow the client.",
		NotLetInTitle:  "This client cannot be let in",
		NoAskingTitle:  "There is nothing to decide here",
		NoAskingText:   "This request was answered, took longer than ten minutes, or belongs to another browser. Begin again in your client.",
		ClientsText:    "You let these clients in. Each can do what is listed, in your name, until you withdraw it.", ClientWithdrawn: "The client can no longer act for you: its tokens have ended.",

		PasskeysTitle: "Passkeys", PasskeysText: "With a passkey you sign in by your device or security key instead of a code from the terminal.",
		PasskeysNone:  "You have no passkey yet.",
		PasskeySignIn: "Sign in with a passkey", PasskeyNot: "Your device gave no passkey. Try again, or use a code from the terminal.",
		PasskeyRefused: "The passkey was not accepted: it is not registered here, it was removed, or its answer came too late. Use a code from the terminal.",
		PasskeyAdd:     "Add a passkey", PasskeyName: "Name", PasskeyNameHint: "So that you know it again, such as “laptop” or “blue key”.",
		PasskeyAdded: "The passkey was added", PasskeyAddedText: "You can sign in with it from now on.",
		PasskeyUsed: "Last used", PasskeyNever: "never", PasskeyNeedsScript: "Adding a passkey needs JavaScript, which is off here. Without it you sign in by a code from the terminal.",
		PasskeyRemove:  "Remove %s",
		PasskeyRemoved: "The passkey was removed", PasskeyRemovedText: "Nobody signs in with it any more. Delete it on your device too.",
		PasskeyStale: "Sign in again first", PasskeyStaleText: "Passkeys are added and removed within ten minutes of signing in. Sign out, sign in again, and come back.",
		PasskeyFull: "There are 16 passkeys already. Remove one first.",

		UnknownTitle: "There is no such page", UnknownText: "Check the address, or call the server again from your client for a new link.",
		HostTitle: "Wrong address", HostText: "The gateway does not answer under this name. Use the address that it shows at start.",
		FrameTitle: "This page stands alone", FrameText: "It is not shown inside other pages and not fetched by them. Open it in a tab of its own.",
		CookieTitle: "Your browser sent two cookies of one name", CookieText: "Another page may have planted one. Delete the cookies of this address and open the link again.",
		FormTitle: "This form was not accepted", FormText: "It came from another page, or your session has ended since. Nothing was changed. Open the page again and repeat it there.",
		BrokenTitle: "This does not work at the moment", BrokenText: "Nothing was changed. Try again in a minute; if it happens again, tell the operator of this gateway.",
	}
}
