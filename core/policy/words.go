package policy

import (
	"strconv"
	"strings"
)

func number(version uint32) string { return strconv.FormatUint(uint64(version), 10) }

// grouped writes a number with commas: 1,000,000.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	if len(text) <= 3 {
		return text
	}
	out := make([]byte, 0, len(text)+len(text)/3)
	for i := range len(text) {
		if i > 0 && (len(text)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, text[i])
	}
	return string(out)
}

// count is a number of things: "1 day", "90 days".
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(n) + " " + what + "s"
}

// list joins words: "a, b and c".
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}
