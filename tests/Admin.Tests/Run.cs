using ObjectStore.Admin.CommandLine;

namespace ObjectStore.Admin.Tests;

/// <summary>What one run of the tool printed.</summary>
internal sealed record Run(int ExitCode, string Output, string Error)
{
    public static async Task<Run> Tool(params string[] words) => await ToolWith(_ => null, words);

    public static async Task<Run> ToolWith(Func<string, string?> environment, params string[] words)
    {
        StringWriter output = new(), error = new();
        int code = await AdminTool.RunAsync(words, new CommandContext(output, error, TimeProvider.System, environment), TestContext.Current.CancellationToken);
        return new Run(code, output.ToString(), error.ToString());
    }
}
