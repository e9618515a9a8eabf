package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/provider"
)

// The types of notify blocks.
const (
	NotifyWebhook = "webhook"
	NotifyCommand = "command"
	NotifyLog     = "log"
)

// Notify is one `notify` block: whom to tell of what happens to keys. It does not print:
// a URL may hold a token in its path, and headers hold more.
type Notify struct {
	// Type is one of the constants above.
	Type string
	// Name is unique among all notify blocks of the file.
	Name string
	// Types and Keys select what is told; nil is everything. A key may be a pattern, in
	// which * stands for any part of a name.
	Types []notify.Type
	Keys  []string
	// Timeout of one try, and GiveUp, the time after which there is none any more; 0 is
	// the default.
	Timeout, GiveUp time.Duration

	// A webhook's.
	URL       string
	AllowHTTP bool
	Secret    provider.Secret
	Headers   map[string]provider.Secret
	// CAFile is absolute; empty for the certificates that the system trusts.
	CAFile string

	// Command is a program, by its absolute path, with its arguments. Env names the
	// variables that it may see.
	Command []string
	Env     []string

	// Path of the file that a log appends to, absolute; empty for the process's own log.
	Path string
}

// String names the block and nothing in it.
func (n Notify) String() string { return fmt.Sprintf("notify %q %q", n.Type, n.Name) }

// Format has every verb show the name of the block alone.
func (n Notify) Format(f fmt.State, _ rune) { fmt.Fprint(f, n.String()) }

// MarshalText does so in JSON.
func (n Notify) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// What a notify block may ask for.
const (
	minTryTime    = time.Second
	maxTryTime    = notify.MaxTimeout
	minGiveUp     = time.Minute
	maxGiveUp     = 30 * 24 * time.Hour
	patternAdvice = "a key's name, or a part of it with * for the rest, such as \"shop-*\""
)

// notifyAttributes are those of all types, and then those of each.
var (
	notifyCommon = []provider.Attribute{
		{Name: "types", Type: provider.StringList},
		{Name: "keys", Type: provider.StringList},
		{Name: "give_up", Type: provider.String},
	}
	notifyTimeout = provider.Attribute{Name: "timeout", Type: provider.String}
	notifyOwn     = map[string][]provider.Attribute{
		NotifyWebhook: {
			{Name: "url", Type: provider.String, Required: true},
			{Name: "secret", Type: provider.String, Required: true, Sensitive: true},
			{Name: "headers", Type: provider.StringMap},
			{Name: "ca_file", Type: provider.Path},
			{Name: "allow_http", Type: provider.Bool},
			notifyTimeout,
		},
		NotifyCommand: {
			{Name: "command", Type: provider.StringList, Required: true},
			{Name: "environment", Type: provider.StringList},
			notifyTimeout,
		},
		NotifyLog: {{Name: "path", Type: provider.Path}},
	}
)

func (l *loader) notify(b *hcl.Block) {
	n := Notify{Type: b.Labels[0], Name: b.Labels[1]}
	s := scope{body: b.Body, at: b.DefRange, title: n.String()}
	if !providerName.MatchString(n.Name) {
		l.found.add(b.LabelRanges[1], "", fmt.Sprintf("invalid notify name %q", n.Name),
			"use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit")
	}
	if !l.once("notify "+n.Name, fmt.Sprintf("the notify name %q", n.Name), b.DefRange) {
		return
	}
	own, known := notifyOwn[n.Type]
	if !known {
		l.found.add(b.LabelRanges[0], "", fmt.Sprintf("unknown notify %q", n.Type),
			suggest(n.Type, []string{NotifyWebhook, NotifyCommand, NotifyLog}))
		return
	}
	schema := provider.Schema{Attributes: slices.Concat(own, notifyCommon)}
	body, content := l.body(s, schema)
	r := targetReader{l, s, body, content}
	n.Types, n.Keys = r.types(), r.keys()
	n.Timeout, n.GiveUp = r.span("timeout", minTryTime, maxTryTime), r.span("give_up", minGiveUp, maxGiveUp)
	switch n.Type {
	case NotifyWebhook:
		r.webhook(&n, schema)
	case NotifyCommand:
		r.command(&n)
	case NotifyLog:
		n.Path = body.String("path")
	}
	l.file.Notify = append(l.file.Notify, n)
}

// targetReader reads what a notify block holds.
type targetReader struct {
	*loader
	scope   scope
	body    provider.Body
	content *hcl.BodyContent
}

// span reads a length of time, 0 if there is none.
func (r targetReader) span(name string, least, most time.Duration) time.Duration {
	if !r.body.Has(name) { // it is of another type, and reported
		return 0
	}
	d := parsed(r.loader, r.scope, r.content, name, spanOf(least, most))
	if d == nil {
		return 0
	}
	return *d
}

// elements visits a list that was read without error. An empty one selects nothing,
// which nobody means.
func (r targetReader) elements(name string, visit func(scalar) (summary, detail string)) []string {
	list := r.body.Strings(name)
	if list == nil {
		return nil
	}
	expr := r.content.Attributes[name].Expr
	if len(list) == 0 {
		r.found.add(expr.Range(), name, fmt.Sprintf("attribute %q%s: is empty", name, r.scope.in()), "leave it out for all of them")
	}
	seen := make(map[string]bool)
	for i, text := range list {
		x := element(expr, i)
		value, _ := r.eval(x) // it has just been read without error
		summary, detail := visit(value)
		if summary == "" && seen[text] {
			summary = fmt.Sprintf("names %s twice", value.shown())
		}
		seen[text] = true
		if summary != "" {
			r.found.add(x.Range(), name, fmt.Sprintf("attribute %q%s: %s", name, r.scope.in(), summary), detail)
		}
	}
	return list
}

func (r targetReader) types() []notify.Type {
	var known []string
	for _, t := range notify.Types() {
		known = append(known, string(t))
	}
	list := r.elements("types", func(v scalar) (string, string) {
		switch {
		case slices.Contains(known, v.text):
			return "", ""
		case v.outside:
			return "there is no type that is named as " + v.shown(), "known here: " + quoted(known)
		default:
			return "there is no type " + v.shown(), suggest(v.text, known)
		}
	})
	var types []notify.Type
	for _, t := range list {
		types = append(types, notify.Type(t))
	}
	return types
}

func (r targetReader) keys() []string {
	return r.elements("keys", func(v scalar) (string, string) {
		if notify.CheckKey(v.text) == nil {
			return "", ""
		}
		advice := patternAdvice
		if lower := strings.ToLower(v.text); !v.outside && notify.CheckKey(lower) == nil {
			advice = fmt.Sprintf("did you mean %q?", lower)
		}
		return v.shown() + " can be the name of no key", advice
	})
}

func (r targetReader) webhook(n *Notify, schema provider.Schema) {
	n.AllowHTTP = r.body.Bool("allow_http")
	n.CAFile = r.body.String("ca_file")
	if r.body.Has("url") {
		n.URL = r.body.String("url")
		if err := checkURL(n.URL, n.AllowHTTP); err != nil {
			r.wrong(r.scope, r.content.Attributes["url"], err)
		}
	}
	if r.body.Has("secret") {
		n.Secret = r.body.Secret("secret")
		if err := notify.CheckSecret(n.Secret); err != nil {
			// Nothing of the secret is in this error, wherever it came from.
			r.found.add(r.content.Attributes["secret"].Expr.Range(), "secret",
				fmt.Sprintf(`attribute "secret"%s: %v`, r.scope.in(), err), "")
		}
	}
	n.Headers = r.headers()
	inline := decoder{evaluator: r.evaluator, found: new(problems)}
	inline.inline(r.scope, schema)
	r.file.inline = append(r.file.inline, inline.warnings...)
}

// checkURL refuses what a webhook cannot be, or must not be. Credentials belong where
// they are known to be some.
func checkURL(text string, allowHTTP bool) error {
	if err := notify.CheckURL(text, allowHTTP); err != nil {
		return err
	}
	if u, err := url.Parse(text); err != nil || u.User != nil {
		return errors.New("must hold no user and password: put them into headers")
	}
	return nil
}

// headers reads the map of headers. Their values may be secret, so that none is shown.
func (r targetReader) headers() map[string]provider.Secret {
	written := r.body.StringMap("headers")
	if written == nil {
		return nil
	}
	headers := make(map[string]provider.Secret, len(written))
	pairs, _ := hcl.ExprMap(r.content.Attributes["headers"].Expr) // it has just been read without error
	names := make(map[string]bool)
	for _, pair := range pairs {
		name, _ := r.eval(pair.Key)
		value, _ := r.eval(pair.Value)
		lower := strings.ToLower(name.text)
		sealed := provider.NewSecret([]byte(value.text))
		err := notify.CheckHeader(name.text, sealed)
		if err == nil && names[lower] {
			err = fmt.Errorf("the header %q stands twice", name.text)
		}
		if err != nil {
			why := err.Error()
			if name.outside {
				why = "what env() or file() answered is not the name of a header"
			}
			r.found.add(pair.Key.Range(), "headers", fmt.Sprintf(`attribute "headers"%s: %s`, r.scope.in(), why), "")
		}
		names[lower] = true
		headers[name.text] = sealed
		if !value.outside && credential(lower) {
			r.file.inline.add(pair.Key.Range(), "headers",
				fmt.Sprintf(`the header %s%s is a secret, and stands in the config file`, name.shown(), r.scope.in()), insteadOfInline)
		}
	}
	return headers
}

// credential tells by a header's name whether its value is a secret.
func credential(name string) bool {
	return slices.ContainsFunc([]string{"auth", "token", "key", "secret", "password", "cookie"}, func(part string) bool {
		return strings.Contains(name, part)
	})
}

func (r targetReader) command(n *Notify) {
	n.Command, n.Env = r.body.Strings("command"), r.body.Strings("environment")
	if n.Command != nil {
		expr := r.content.Attributes["command"].Expr
		why := ""
		switch {
		case len(n.Command) == 0:
			why = "names no program"
		case !filepath.IsAbs(n.Command[0]):
			why = "must name a program by its whole path: which one PATH leads to is not to be left to whoever starts keyrotor"
		case slices.ContainsFunc(n.Command, func(arg string) bool { return strings.ContainsRune(arg, 0) }):
			why = "must not hold a NUL"
		}
		if why != "" {
			r.found.add(expr.Range(), "command", fmt.Sprintf(`attribute "command"%s: %s`, r.scope.in(), why), "")
		}
	}
	r.elements("environment", func(v scalar) (string, string) {
		if variableName.MatchString(v.text) {
			return "", ""
		}
		return "not the name of a variable", "names only, without a value"
	})
}
