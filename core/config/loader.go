package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/provider"
)

const sqlite = "sqlite"

var (
	// providerName is what a data block may be named, too.
	providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// loader reads the top-level blocks of every file of a config. What needs all of
// them, e.g. that a named provider exists, waits for finish.
type loader struct {
	decoder
	file *File
	// first is where each thing that there may be one of was seen.
	first map[string]hcl.Range
	uses  []use
	// unclear says that some file has a top-level block that is none of ours, or
	// is malformed: it may be the one that seems to be missing.
	unclear bool
}

// use is a key's mention of a provider.
type use struct {
	provider scalar
	at       hcl.Range
	key      scope
}

func newLoader(file *File, found *problems) *loader {
	file.Plugins.Lock = filepath.Join(file.Dir, "plugins.lock")
	file.Scheduler = Scheduler{Interval: defaultInterval, DueSoon: defaultDueSoon}
	file.Serve.Listen = DefaultListen
	file.History = History{Persist: true, MaxEvents: defaultMaxEvents}
	return &loader{
		decoder: decoder{evaluator: evaluator{dir: file.Dir}, found: found},
		file:    file,
		first:   make(map[string]hcl.Range),
	}
}

// read takes in the blocks of one file.
func (l *loader) read(body hcl.Body) {
	top := scope{body: body}
	before := len(*l.found)
	content := l.found.content(top, &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "storage", LabelNames: []string{"type"}},
		{Type: "plugins"},
		{Type: "provider", LabelNames: []string{"type", "name"}},
		{Type: "key", LabelNames: []string{"name"}},
		{Type: "data", LabelNames: []string{"type", "name"}},
		{Type: "scheduler"},
		{Type: "serve"},
		{Type: "history"},
		{Type: "notify", LabelNames: []string{"type", "name"}},
	}})
	l.unclear = l.unclear || len(*l.found) > before
	for _, b := range content.Blocks {
		switch b.Type {
		case "storage":
			l.storage(b)
		case "plugins":
			l.plugins(b)
		case "provider":
			l.provider(b)
		case "key":
			l.key(b)
		case "data":
			l.data(b)
		case "scheduler":
			l.scheduler(b)
		case "serve":
			l.serve(b)
		case "history":
			l.history(b)
		case "notify":
			l.notify(b)
		}
	}
}

// once reports a second one of what there may be one of.
func (l *loader) once(id, title string, at hcl.Range) bool {
	before, twice := l.first[id]
	if twice {
		l.found.add(at, "", title+" stands twice", "the first is at "+place(before))
		return false
	}
	l.first[id] = at
	return true
}

func (l *loader) storage(b *hcl.Block) {
	if !l.once("storage", "block \"storage\"", b.DefRange) {
		return
	}
	switch typ := b.Labels[0]; typ {
	case sqlite:
		s := scope{body: b.Body, at: b.DefRange, title: fmt.Sprintf("storage %q", typ)}
		body, _ := l.body(s, provider.Schema{Attributes: []provider.Attribute{
			{Name: "path", Type: provider.Path, Required: true},
		}})
		l.file.Storage = Storage{Type: typ, Path: body.String("path")}
	case "postgres", "postgresql":
		l.found.add(b.LabelRanges[0], "", fmt.Sprintf("storage %q is not supported by this build yet", typ),
			`use storage "sqlite"`)
	default:
		l.found.add(b.LabelRanges[0], "", fmt.Sprintf("unknown storage %q", typ), suggest(typ, []string{sqlite}))
	}
}

func (l *loader) plugins(b *hcl.Block) {
	if !l.once("plugins", "block \"plugins\"", b.DefRange) {
		return
	}
	s := scope{body: b.Body, at: b.DefRange, title: "plugins"}
	body, content := l.body(s, provider.Schema{Attributes: []provider.Attribute{
		{Name: "directory", Type: provider.Path},
		{Name: "lock", Type: provider.Path, Default: l.file.Plugins.Lock},
		{Name: "environment", Type: provider.StringList},
	}})
	l.file.Plugins = Plugins{
		Directory: body.String("directory"),
		Lock:      body.String("lock"),
		Env:       body.Strings("environment"),
	}
	for i, name := range l.file.Plugins.Env {
		if !variableName.MatchString(name) {
			l.found.add(element(content.Attributes["environment"].Expr, i).Range(), "environment",
				`attribute "environment" in plugins: not the name of a variable`, "names only, without a value")
		}
	}
}

func (l *loader) provider(b *hcl.Block) {
	p := Provider{
		Type: b.Labels[0], Name: b.Labels[1],
		block: &providerBlock{body: b.Body, at: b.DefRange, dir: l.file.Dir},
	}
	for i, what := range []string{"type", "name"} {
		if !providerName.MatchString(b.Labels[i]) {
			l.found.add(b.LabelRanges[i], "", fmt.Sprintf("invalid provider %s %q", what, b.Labels[i]),
				"use 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit")
		}
	}
	// A name is unique over all types: a key's wraps know providers by name alone.
	if l.once(providerID(p.Name), fmt.Sprintf("the provider name %q", p.Name), b.DefRange) {
		l.file.Providers = append(l.file.Providers, p)
	}
}

func providerID(name string) string { return "provider " + name }

func (l *loader) key(b *hcl.Block) {
	k := Key{Name: b.Labels[0]}
	s := scope{
		body: b.Body, at: b.DefRange, title: fmt.Sprintf("key %q", k.Name),
		planned: []string{"mirror"},
	}
	if err := keyring.CheckName(k.Name); err != nil {
		l.found.add(b.LabelRanges[0], "", err.Error(), "")
	}
	if !l.once("key "+k.Name, s.title, b.DefRange) {
		return
	}
	attributes := []provider.Attribute{
		{Name: "wrap_with", Type: provider.StringList},
		{Name: "wraps", Type: provider.String, Default: "all"},
		{Name: "hard_limit", Type: provider.Int},
	}
	schema := bodySchema(provider.Schema{Attributes: attributes})
	schema.Blocks = []hcl.BlockHeaderSchema{{Type: "rotation"}, {Type: "cache"}}
	content := l.found.content(s, schema)
	body := l.attributes(s, attributes, content)
	k.WrapWith = body.Strings("wrap_with")
	if k.WrapWith != nil {
		l.wrapWith(s, content.Attributes["wrap_with"].Expr, len(k.WrapWith))
	}
	if body.Has("wraps") && body.String("wraps") != "all" {
		l.wraps(s, content.Attributes["wraps"].Expr)
	}
	k.HardLimit = l.hardLimit(s, body, content)
	k.Rotation = l.rotation(s, content.Blocks.OfType("rotation"), cmp.Or(k.HardLimit, keyring.MaxUses))
	k.Cache = l.cache(s, content.Blocks.OfType("cache"))
	l.file.Keys = append(l.file.Keys, k)
}

func (l *loader) hardLimit(key scope, body provider.Body, content *hcl.BodyContent) uint64 {
	if !body.Has("hard_limit") {
		return 0
	}
	n := body.Int("hard_limit")
	if n < 1 || n > keyring.MaxUses {
		l.wrong(key, content.Attributes["hard_limit"], fmt.Errorf("must be from 1 to %d uses", int64(keyring.MaxUses)))
		return 0
	}
	return uint64(n)
}

func (l *loader) wrapWith(key scope, list hcl.Expression, count int) {
	if count == 0 {
		l.found.add(list.Range(), "wrap_with",
			fmt.Sprintf(`attribute "wrap_with"%s: names no provider`, key.in()), "leave it out, or name one")
	}
	seen := make(map[string]bool)
	for i := range count {
		x := element(list, i)
		name, _ := l.eval(x) // it has just been read without error
		if seen[name.text] {
			l.found.add(x.Range(), "wrap_with",
				fmt.Sprintf(`attribute "wrap_with"%s: names provider %s twice`, key.in(), name.shown()), "")
			continue
		}
		seen[name.text] = true
		l.uses = append(l.uses, use{name, x.Range(), key})
	}
}

// wraps reports a value other than "all".
func (l *loader) wraps(key scope, expr hcl.Expression) {
	value, _ := l.eval(expr)
	summary := fmt.Sprintf(`attribute "wraps"%s: must be "all", not %s`, key.in(), value.shown())
	if value.text == "any" {
		summary = fmt.Sprintf(`wraps = "any"%s is not supported by this build yet`, key.in())
	}
	l.found.add(expr.Range(), "wraps", summary, "")
}

// element is the i-th of a list that has been read without error.
func element(list hcl.Expression, i int) hcl.Expression {
	elements, _ := hcl.ExprList(list)
	return elements[i]
}

// finish checks what needs all files. The name stands for all of them.
func (l *loader) finish(name string) {
	if !l.unclear {
		l.absent(hcl.Range{Filename: name})
	}
	var names []string
	for _, p := range l.file.Providers {
		names = append(names, p.Name)
	}
	for _, u := range l.uses {
		if _, ok := l.first[providerID(u.provider.text)]; ok {
			continue
		}
		detail := "known here: " + quoted(names)
		if !u.provider.outside {
			detail = suggest(u.provider.text, names)
		}
		l.found.add(u.at, "wrap_with",
			fmt.Sprintf(`attribute "wrap_with"%s: there is no provider %s`, u.key.in(), u.provider.shown()), detail)
	}
}

// absent reports that there is no block of a type that there must be.
func (l *loader) absent(whole hcl.Range) {
	if _, ok := l.first["storage"]; !ok {
		l.found.add(whole, "", "no storage block", `add storage "sqlite" { path = "keyrotor.db" }`)
	}
	if len(l.file.Providers) == 0 {
		l.found.add(whole, "", "no provider block",
			`add at least one, e.g. provider "local" "main" { … }: it holds the key that wraps yours`)
	}
}
