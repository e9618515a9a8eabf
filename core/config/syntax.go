package config

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

// maxBrackets bounds how deep the parsers recurse: Go cannot recover from a stack
// that is used up. It counts opening brackets, nested or not, because a parser
// that recovers from an error may take a closing one for no such thing.
const maxBrackets = 20_000

const (
	tooMany       = "too many brackets: not a config file"
	onlyValues    = `only a literal value, env("NAME") or file("path") may stand here`
	byteOrderMark = "\ufeff"
)

// parse answers nil after it has reported why.
func (s source) parse(found *problems) hcl.Body {
	src := bytes.TrimPrefix(s.data, []byte(byteOrderMark))
	var file *hcl.File
	var diags hcl.Diagnostics
	if s.isJSON() {
		if bytes.Count(src, []byte("{"))+bytes.Count(src, []byte("["))+bytes.Count(src, []byte("(")) > maxBrackets {
			found.add(hcl.Range{Filename: s.name}, "", tooMany, "")
			return nil
		}
		file, diags = json.Parse(src, s.name)
	} else {
		tokens, _ := hclsyntax.LexConfig(src, s.name, hcl.InitialPos)
		if at, why := refusedToken(tokens); why != "" {
			found.add(at, "", why, "")
			return nil
		}
		file, diags = hclsyntax.ParseConfig(src, s.name, hcl.InitialPos)
	}
	if len(diags) == 0 {
		return file.Body
	}
	s.report(diags, found)
	return nil
}

// report leaves out what only follows from another error: a second message about
// one place, and in JSON, where the parser hardly recovers, all but the first.
func (s source) report(diags hcl.Diagnostics, found *problems) {
	if s.isJSON() {
		diags = diags[:1]
	}
	var last hcl.Pos
	for _, d := range diags {
		if d.Subject.Start != last {
			found.add(*d.Subject, "", "syntax error: "+lowerFirst(d.Summary), hint(d.Summary))
		}
		last = d.Subject.Start
	}
}

// refusedToken finds the first token that the parser must not see: a bracket too
// many, or one that a chain without end can be made of.
func refusedToken(tokens hclsyntax.Tokens) (hcl.Range, string) {
	brackets := 0
	for i, t := range tokens {
		switch {
		case opens(t.Type):
			if brackets++; brackets > maxBrackets {
				return t.Range, tooMany
			}
		case t.Type == hclsyntax.TokenMinus && i+1 < len(tokens) && tokens[i+1].Type != hclsyntax.TokenNumberLit,
			chains(t.Type):
			return t.Range, onlyValues
		}
	}
	return hcl.Range{}, ""
}

func opens(t hclsyntax.TokenType) bool {
	return t == hclsyntax.TokenOBrace || t == hclsyntax.TokenOBrack || t == hclsyntax.TokenOParen ||
		t == hclsyntax.TokenTemplateInterp
}

// chains reports whether the token is one of those that a config file has no use
// for and that the parser recurses on, or takes quadratic time for.
func chains(t hclsyntax.TokenType) bool {
	return t == hclsyntax.TokenBang || t == hclsyntax.TokenQuestion || t == hclsyntax.TokenStar ||
		t == hclsyntax.TokenDoubleColon || t == hclsyntax.TokenTemplateControl
}

// hint says what to do about a syntax error. The parser's own details are not
// used: some of them quote the text around the error, which may be a secret.
func hint(summary string) string {
	switch summary {
	case "Argument or block definition required", "Argument definition required":
		return `write name = value, or a block: name "label" { … }`
	case "Attribute redefined":
		return "this attribute is already set in the same block"
	case "Invalid argument name":
		return "attribute names are written without quotes"
	case "Invalid block definition":
		return `write a block as name "label" { … }, its opening brace on the same line`
	case "Invalid single-argument block definition":
		return "put each attribute on a line of its own"
	case "Missing newline after argument", "Missing newline after block definition":
		return "end the line here"
	case "Unclosed configuration block", "Unclosed object", "Unterminated object constructor expression":
		return "its closing brace } is missing"
	case "Unterminated tuple constructor expression", "Missing item separator":
		return "separate the items of a list by commas and close it with ]"
	case "Invalid multi-line string", "Unterminated string literal", "Unterminated template string":
		return `close the string with " on the same line`
	case "Invalid escape sequence":
		return `a backslash in a string is written \\`
	case "Invalid character":
		return `strings stand in double quotes "…", and nothing ends a line but a newline`
	case "Invalid expression", "Missing expression":
		return "a value is expected here; strings stand in double quotes"
	case "Invalid JSON keyword":
		return "strings stand in double quotes"
	default:
		return ""
	}
}

// lowerFirst makes a sentence of the parser fit into one of ours.
func lowerFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if next, _ := utf8.DecodeRuneInString(s[size:]); unicode.IsUpper(next) {
		return s // an abbreviation
	}
	return string(unicode.ToLower(r)) + strings.TrimSuffix(s[size:], ".")
}
