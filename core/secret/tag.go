package secret

import (
	"fmt"
	"slices"
	"strings"
)

// tagName is the key of the struct tags that Load reads.
const tagName = "keyrotor"

// tag is a struct tag, taken apart.
type tag struct {
	// env or file is where the secret comes from; neither for a nested struct.
	env, file string
	name, key string
	handling  Handling
	optional  bool
	// prefix is of a nested struct: it stands before what env says in it.
	prefix string
	// skip is "-": the field is somebody else's.
	skip bool
}

// tagOptions are those that a tag may have. Only optional takes no value.
var tagOptions = []string{"env", "file", "handling", "key", "name", "optional", "prefix"}

// parseTag reads "env=DB_PASSWORD,handling=sealed,key=payments". Nothing that it says in
// an error is a secret: tags are source.
func parseTag(text string) (tag, error) {
	if text == "-" {
		return tag{skip: true}, nil
	}
	var t tag
	seen := make(map[string]bool)
	for option := range strings.SplitSeq(text, ",") {
		name, value, valued := strings.Cut(option, "=")
		switch {
		case seen[name]:
			return tag{}, fmt.Errorf("option %q stands there twice", name)
		case !slices.Contains(tagOptions, name):
			return tag{}, unknownOption(name)
		case name == "optional" && valued:
			return tag{}, fmt.Errorf("option %q takes no value", name)
		case name != "optional" && value == "":
			return tag{}, fmt.Errorf("option %q takes a value: %s=…", name, name)
		}
		seen[name] = true
		t.set(name, value)
	}
	return t, t.check()
}

func (t *tag) set(option, value string) {
	switch option {
	case "env":
		t.env = value
	case "file":
		t.file = value
	case "handling":
		t.handling = Handling(value)
	case "key":
		t.key = value
	case "name":
		t.name = value
	case "optional":
		t.optional = true
	case "prefix":
		t.prefix = value
	}
}

func (t *tag) check() error {
	if t.env != "" && t.file != "" {
		return fmt.Errorf("it has both env and file: a value has one source")
	}
	if t.prefix != "" && *t != (tag{prefix: t.prefix}) {
		return fmt.Errorf("prefix is for a nested struct, and stands alone")
	}
	if t.handling != "" && !t.handling.Valid() {
		return fmt.Errorf("there is no handling %q: use one of %q", t.handling, Handlings())
	}
	if t.name != "" {
		return checkName(t.name)
	}
	return nil
}

// unknownOption says what the author may have meant: the option that begins alike. (A
// distance in letters would be nicer, and its library would be in every plugin.)
func unknownOption(name string) error {
	meant := strings.ToLower(strings.TrimSpace(name))
	for _, known := range tagOptions {
		if len(meant) >= 3 && strings.HasPrefix(known, meant[:3]) {
			return fmt.Errorf("unknown option %q: did you mean %q?", name, known)
		}
	}
	return fmt.Errorf("unknown option %q: the options are %s, with commas between and no spaces", name, strings.Join(tagOptions, ", "))
}

// String is the tag in the order of tagOptions.
func (t tag) String() string {
	if t.skip {
		return "-"
	}
	var options []string
	for _, o := range []struct{ name, value string }{
		{"env", t.env}, {"file", t.file}, {"handling", string(t.handling)}, {"key", t.key}, {"name", t.name}, {"prefix", t.prefix},
	} {
		if o.value != "" {
			options = append(options, o.name+"="+o.value)
		}
	}
	if t.optional {
		options = append(options, "optional")
	}
	return strings.Join(options, ",")
}
