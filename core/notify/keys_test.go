package notify

import "testing"

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"payments", "payments", true},
		{"payments", "payments.eu", false},
		{"*", "payments", true},
		{"pay*", "payments", true},
		{"pay*", "pay", true},
		{"pay*", "repay", false},
		{"*ments", "payments", true},
		{"*ments", "payments.eu", false},
		{"p*m*s", "payments", true},
		{"p*z*s", "payments", false},
		{"ab*ba", "aba", false},
		{"ab*ba", "abba", true},
		{"**", "", true},
		{"a*a*a", "aa", false},
	} {
		if got := matches(c.pattern, c.key); got != c.want {
			t.Errorf("%q for %q: %t", c.pattern, c.key, got)
		}
	}
}

func TestCheckKey(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"payments": true, "*": true, "shop-*": true, "a*.b": true, "": false, "Shop": false, "a_b": false, "a b": false, ".a": false, "shop?": false,
	} {
		if err := CheckKey(pattern); (err == nil) != ok {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
