package config

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/provider"
)

// fault is what is wrong with a value, and where. It never holds the value.
type fault struct {
	at   hcl.Range
	text string
}

// value finds the value of an attribute, as the Go type that provider.Body has
// for it; nil stands for null, which is the same as not set.
func (e evaluator) value(a provider.Attribute, expr hcl.Expression) (any, *fault) {
	s, err := e.eval(expr)
	if err != nil {
		return nil, &fault{expr.Range(), err.Error()}
	}
	if s.kind == kindNull {
		return nil, nil
	}
	switch {
	case a.Type == provider.StringList && s.kind == kindList:
		return e.list(expr)
	case a.Type == provider.StringMap && s.kind == kindMap:
		return e.stringMap(expr)
	}
	v, err := convert(a.Type, s)
	if err != nil {
		return nil, &fault{expr.Range(), err.Error()}
	}
	return e.settle(a, v), nil
}

// convert is strict with literals. What env() and file() answer is text by
// nature, so that is read as a number or a boolean where one is wanted.
func convert(t provider.AttributeType, s scalar) (any, error) {
	switch {
	case t == provider.Int && s.kind == kindNumber:
		return wholeNumber(s.number)
	case t == provider.Int && s.outside:
		n, err := strconv.ParseInt(s.text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number", s.shown())
		}
		return n, nil
	case t == provider.Bool && s.kind == kindBool:
		return s.boolean, nil
	case t == provider.Bool && s.outside:
		if s.text != "true" && s.text != "false" {
			return nil, fmt.Errorf("%s is neither true nor false", s.shown())
		}
		return s.text == "true", nil
	case isText(t) && s.kind == kindText:
		return s.text, checkText(t, s.text)
	default:
		return nil, fmt.Errorf("must be %s, not %s", wanted(t), s.kind)
	}
}

func wholeNumber(f *big.Float) (any, error) {
	n, accuracy := f.Int64()
	if accuracy != big.Exact {
		return nil, errors.New("must be a whole number of at most 64 bits")
	}
	return n, nil
}

// isText reports whether values of the type are strings.
func isText(t provider.AttributeType) bool {
	return t == provider.String || t == provider.Path || t == provider.Duration
}

func checkText(t provider.AttributeType, text string) error {
	if t == provider.Path && (text == "" || strings.ContainsRune(text, 0)) {
		return errors.New("a path must not be empty or hold a NUL")
	}
	if t == provider.Duration {
		if _, err := time.ParseDuration(text); err != nil {
			return errors.New(`must be a duration such as "90s" or "1h30m"`)
		}
	}
	return nil
}

// settle makes paths absolute and seals secrets.
func (e evaluator) settle(a provider.Attribute, v any) any {
	text, ok := v.(string)
	if !ok {
		return v
	}
	if a.Type == provider.Path {
		text = absolute(e.dir, text)
	}
	if a.Sensitive {
		return provider.NewSecret([]byte(text))
	}
	return text
}

func wanted(t provider.AttributeType) string {
	switch t {
	case provider.Int:
		return "a whole number"
	case provider.Bool:
		return "true or false"
	case provider.StringList:
		return "a list of strings"
	case provider.StringMap:
		return "a map of strings"
	case provider.Path:
		return "a path, as a string"
	case provider.Duration:
		return `a duration, as a string such as "90s"`
	default:
		return string(kindText)
	}
}

// element is a string within a list or map; null is none.
func (e evaluator) element(expr hcl.Expression) (string, *fault) {
	s, err := e.eval(expr)
	switch {
	case err != nil:
		return "", &fault{expr.Range(), err.Error()}
	case s.kind != kindText:
		return "", &fault{expr.Range(), fmt.Sprintf("must hold strings only, not %s", s.kind)}
	}
	return s.text, nil
}

func (e evaluator) list(expr hcl.Expression) (any, *fault) {
	elements, diags := hcl.ExprList(expr)
	if diags.HasErrors() {
		return nil, &fault{expr.Range(), onlyValues}
	}
	out := make([]string, 0, len(elements))
	for _, x := range elements {
		text, f := e.element(x)
		if f != nil {
			return nil, f
		}
		out = append(out, text)
	}
	return out, nil
}

func (e evaluator) stringMap(expr hcl.Expression) (any, *fault) {
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil, &fault{expr.Range(), onlyValues}
	}
	out := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, f := e.element(pair.Key)
		if f != nil {
			return nil, f
		}
		if _, twice := out[key]; twice {
			return nil, &fault{pair.Key.Range(), "this key of the map stands twice"}
		}
		if out[key], f = e.element(pair.Value); f != nil {
			return nil, f
		}
	}
	return out, nil
}
