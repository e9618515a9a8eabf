package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxInsert is the largest file in bytes that file() takes in.
const maxInsert = 1 << 20

// kind is the kind of a value, as messages name it.
type kind string

const (
	kindNull   kind = "null"
	kindText   kind = "a string"
	kindNumber kind = "a number"
	kindBool   kind = "a boolean"
	kindList   kind = "a list"
	kindMap    kind = "a map"
)

// scalar is the value of an expression. Lists and maps are values only in that
// their kind is known; their elements are expressions of their own.
type scalar struct {
	kind    kind
	text    string
	number  *big.Float
	boolean bool
	// outside says that the text came from env() or file(), all or part of it.
	outside bool
}

// shown is the text as a message may hold it.
func (s scalar) shown() string {
	if s.outside {
		return "what env() or file() answered"
	}
	return fmt.Sprintf("%q", s.text)
}

// evaluator finds the values of expressions. We walk the few kinds of expression
// that a config has, rather than let the HCL library evaluate: its messages
// quote what they are about, and its language is larger than ours.
type evaluator struct {
	// dir is where the paths of file() start.
	dir string
}

// eval answers errors without position: the expression as a whole is at fault.
func (e evaluator) eval(expr hcl.Expression) (scalar, error) {
	switch x := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		return literal(x.Val)
	case *hclsyntax.TemplateExpr:
		return e.template(x)
	case *hclsyntax.TemplateWrapExpr:
		return e.eval(x.Wrapped)
	case *hclsyntax.ParenthesesExpr:
		return e.eval(x.Expression)
	case *hclsyntax.UnaryOpExpr:
		return e.negative(x)
	case *hclsyntax.FunctionCallExpr:
		return e.call(x)
	case *hclsyntax.TupleConsExpr:
		return scalar{kind: kindList}, nil
	case *hclsyntax.ObjectConsExpr:
		return scalar{kind: kindMap}, nil
	case *hclsyntax.ObjectConsKeyExpr:
		if word := hcl.ExprAsKeyword(x.Wrapped); word != "" {
			return scalar{kind: kindText, text: word}, nil
		}
		return e.eval(x.Wrapped)
	case *hclsyntax.ScopeTraversalExpr:
		return scalar{}, errors.New("there are no variables; a string stands in double quotes")
	case hclsyntax.Expression:
		return scalar{}, errors.New(onlyValues)
	default:
		return e.json(x)
	}
}

func literal(v cty.Value) (scalar, error) {
	switch {
	case v.IsNull():
		return scalar{kind: kindNull}, nil
	case v.Type() == cty.String:
		return scalar{kind: kindText, text: v.AsString()}, nil
	case v.Type() == cty.Number:
		return scalar{kind: kindNumber, number: v.AsBigFloat()}, nil
	case v.Type() == cty.Bool:
		return scalar{kind: kindBool, boolean: v.True()}, nil
	default:
		return scalar{}, errors.New(onlyValues)
	}
}

// json evaluates an expression of the JSON form, where a string is a template.
func (e evaluator) json(expr hcl.Expression) (scalar, error) {
	if _, diags := hcl.ExprList(expr); !diags.HasErrors() {
		return scalar{kind: kindList}, nil
	}
	if _, diags := hcl.ExprMap(expr); !diags.HasErrors() {
		return scalar{kind: kindMap}, nil
	}
	v, diags := expr.Value(nil) // without a context, strings come as written
	if diags.HasErrors() {
		return scalar{}, errors.New(onlyValues)
	}
	s, err := literal(v)
	if err != nil || s.kind != kindText {
		return s, err
	}
	src, start := []byte(s.text), expr.Range().Start
	tokens, _ := hclsyntax.LexTemplate(src, "", start)
	if _, why := refusedToken(tokens); why != "" {
		return scalar{}, errors.New(why)
	}
	parsed, diags := hclsyntax.ParseTemplate(src, "", start)
	if diags.HasErrors() {
		return scalar{}, errors.New("its template ${…} cannot be read; to have ${ as it is, write $${")
	}
	return e.eval(parsed)
}

func (e evaluator) template(x *hclsyntax.TemplateExpr) (scalar, error) {
	whole := scalar{kind: kindText}
	var text strings.Builder
	for _, part := range x.Parts {
		s, err := e.eval(part)
		if err != nil {
			return scalar{}, err
		}
		if s.kind != kindText {
			return scalar{}, fmt.Errorf("only a string can be put into a string, not %s", s.kind)
		}
		text.WriteString(s.text)
		whole.outside = whole.outside || s.outside
	}
	whole.text = text.String()
	return whole, nil
}

func (e evaluator) negative(x *hclsyntax.UnaryOpExpr) (scalar, error) {
	s, err := e.eval(x.Val)
	if err != nil {
		return scalar{}, err
	}
	if x.Op != hclsyntax.OpNegate || s.kind != kindNumber {
		return scalar{}, errors.New(onlyValues)
	}
	s.number = new(big.Float).Neg(s.number)
	return s, nil
}

// call runs env() or file(). Their argument is literal, so that what one of them
// answers is never looked up, and never shown, by the other.
func (e evaluator) call(x *hclsyntax.FunctionCallExpr) (scalar, error) {
	if x.Name != "env" && x.Name != "file" {
		return scalar{}, errors.New(`there are no functions but env("NAME") and file("path")`)
	}
	if len(x.Args) != 1 || x.ExpandFinal {
		return scalar{}, fmt.Errorf("%s() takes one string", x.Name)
	}
	arg, err := e.eval(x.Args[0])
	switch {
	case err != nil:
		return scalar{}, err
	case arg.kind != kindText:
		return scalar{}, fmt.Errorf("%s() takes one string, not %s", x.Name, arg.kind)
	case arg.outside:
		return scalar{}, fmt.Errorf("the argument of %s() must be a literal string", x.Name)
	case arg.text == "" || strings.ContainsRune(arg.text, 0):
		return scalar{}, fmt.Errorf("the argument of %s() must not be empty or hold a NUL", x.Name)
	}
	var text string
	if x.Name == "env" {
		text, err = env(arg.text)
	} else {
		text, err = e.file(arg.text)
	}
	return scalar{kind: kindText, text: text, outside: true}, err
}

func env(name string) (string, error) {
	text, ok := os.LookupEnv(name)
	switch {
	case !ok && !conventional(name):
		return "", errors.New("the environment variable that env() names is not set; env() takes a variable's name, not its value")
	case !ok:
		return "", fmt.Errorf("environment variable %q is not set", name)
	case !utf8.ValidString(text):
		return "", fmt.Errorf("environment variable %q is not UTF-8 text", name)
	}
	return text, nil
}

// conventional reports whether a name is written as those of variables are. One that
// is not may be the secret itself, in the wrong place.
func conventional(name string) bool {
	const longest = 40
	return len(name) <= longest && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// file answers a file's text but for one newline at its end, which editors and
// echo add and nobody means.
func (e evaluator) file(path string) (string, error) {
	data, err := readRegular(absolute(e.dir, path), maxInsert)
	if err != nil {
		return "", fmt.Errorf("cannot read file %q: %w", path, reason(err))
	}
	text, found := strings.CutSuffix(string(data), "\n")
	if found {
		text = strings.TrimSuffix(text, "\r")
	}
	return text, nil
}

// reason is why a file could not be read, without its name.
func reason(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// absolute makes a path start from dir, if it is relative.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
