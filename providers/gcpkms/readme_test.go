package gcpkms

import (
	"testing"

	"github.com/keyrotor/keyrotor/testing/page"
)

// TestReference keeps the page's list of attributes in step with the schema.
func TestReference(t *testing.T) {
	page.Holds(t, "<!-- The rest of this section is made from the schema: go test ./providers/gcpkms -run Reference -update -->\n",
		"<!-- end -->\n", page.Reference(Schema()))
}
