package recipes

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	blockPattern  = regexp.MustCompile("(?s)<!-- from recipes/(\\S+)#(\\S+) -->\n```go\n(.*?)\n```")
	regionPattern = `(?s)// region %s\n(.*?)\n// endregion`
)

// Each block of code of the page is a region of a file that these tests run.
func TestPageHasTheCode(t *testing.T) {
	page, err := os.ReadFile("../RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := blockPattern.FindAllStringSubmatch(string(page), -1)
	if len(blocks) != strings.Count(string(page), "```go") || len(blocks) == 0 {
		t.Error("a block of code is from nowhere")
	}
	for _, block := range blocks {
		file, err := os.ReadFile(block[1])
		if err != nil {
			t.Fatal(err)
		}
		pattern := strings.Replace(regionPattern, "%s", regexp.QuoteMeta(block[2]), 1)
		region := regexp.MustCompile(pattern).FindStringSubmatch(string(file))
		if region == nil || strings.TrimSpace(region[1]) != strings.TrimSpace(block[3]) {
			t.Errorf("%s#%s differs", block[1], block[2])
		}
	}
}
