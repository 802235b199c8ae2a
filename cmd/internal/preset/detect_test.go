package preset

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestDetect: names of dependencies, and names of variables.
func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {map[string]string{"README.md": "openai stripe"}, ""},
		"npm":     {map[string]string{"package.json": `{"name":"x","dependencies":{"openai":"^4","express":"4"},"devDependencies":{"@slack/web-api":"7"}}`}, "openai slack packages"},
		"no json": {map[string]string{"package.json": `{"dependencies":{"openai"`}, "packages"},
		"pypi": {map[string]string{"requirements.txt": "# stripe\nOpenAI==1.2\nsentence_transformers[x]>=1 ; python_version>'3'\n-r other.txt\n",
			"requirements-dev.txt": "slack.sdk\n"}, "openai huggingface slack packages"},
		"pep 621":  {map[string]string{"pyproject.toml": "[project]\ndependencies = [\"anthropic>=0.3\", 'cohere']\n"}, "anthropic cohere packages"},
		"poetry":   {map[string]string{"pyproject.toml": "[tool.poetry.dependencies]\npython = \"^3.12\"\nmistralai = \"1\"\n"}, "mistral packages"},
		"go":       {map[string]string{"go.mod": "module x\nrequire github.com/stripe/stripe-go/v76 v76.1.0\nrequire (\n\tgithub.com/aws/aws-sdk-go-v2/service/bedrockruntime v1.2.3 // indirect\n)\n"}, "bedrock stripe packages"},
		"go above": {map[string]string{"go.mod": "module x\nrequire github.com/aws/aws-sdk-go-v2 v1.0.0\n"}, "packages"},
		"gem":      {map[string]string{"Gemfile": "source 'https://rubygems.org'\ngem 'stripe', '~> 10'\n# gem 'openai'\ngem \"octokit\"\n"}, "github stripe packages"},
		"composer": {map[string]string{"composer.json": `{"require":{"php":">=8","twilio/sdk":"*"}}`}, "twilio packages"},
		"cargo":    {map[string]string{"Cargo.toml": "[dependencies]\nasync-openai = \"0.2\"\naws-sdk-bedrockruntime = { version = \"1\" }\n"}, "openai bedrock packages"},
		"env": {map[string]string{".env": "# comment\nSTRIPE_SECRET_KEY=q7Zx-made-up\nexport NOTION_TOKEN='LINEAR_API_KEY=x'\n  GITHUB_TOKEN=\nurl=OPENAI_API_KEY=x\n",
			".env.example": "# SLACK_BOT_TOKEN=\n", ".envrc": "export HF_TOKEN=$(cat x)\n"}, "huggingface github stripe slack notion"},
		"env, long": {map[string]string{".env": "X=" + strings.Repeat("a", 100_000) + "\nSTRIPE_SECRET_KEY=x"}, "stripe"},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, f := range Detect(dir) {
			got = append(got, f.Preset)
			if strings.Contains(f.Why, "q7Zx") {
				t.Errorf("%s: a value: %s", name, f.Why)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestDetectSaysWhy(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"package.json": `{"dependencies":{"stripe":"1"}}`, ".env.local": "OPENAI_API_KEY=x\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []Found{{"openai", ".env.local: OPENAI_API_KEY"}, {"stripe", "package.json: stripe"}, {"packages", "what builds it is downloaded"}}
	if got := Detect(dir); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// FuzzDetect: a project's files are foreign.
func FuzzDetect(f *testing.F) {
	f.Add("package.json", []byte(`{"dependencies":{"stripe":"1"}}`))
	f.Add(".env", []byte("export A=b\n#B=\n=\n"))
	f.Add("pyproject.toml", []byte("[x]\na=\"b\"\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		dir := t.TempDir()
		if name != filepath.Base(name) || name == "." || name == ".." || os.WriteFile(filepath.Join(dir, name), data, 0o600) != nil {
			return
		}
		for _, found := range Detect(dir) {
			if _, ok := Find(found.Preset); !ok {
				t.Errorf("%+v", found)
			}
		}
	})
}
