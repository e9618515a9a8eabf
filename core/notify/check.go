package notify

import "github.com/keyrotor/keyrotor/core/secret"

// CheckURL, CheckSecret and CheckHeader refuse what NewWebhook does, one by one, for those
// who know where each of them was written down. Their errors show a URL's scheme and host
// and the name of a header, and nothing else.

// CheckURL refuses where a webhook must not go.
func CheckURL(text string, allowHTTP bool) error {
	_, err := checkURL(text, allowHTTP)
	return err
}

// CheckSecret refuses what a webhook must not be signed with.
func CheckSecret(s secret.Bytes) error {
	key, err := signingKey(s)
	key.Wipe()
	return err
}

// CheckHeader refuses what would replace what a webhook says, or cannot be sent.
func CheckHeader(name string, value secret.Bytes) error { return checkHeader(name, value) }
