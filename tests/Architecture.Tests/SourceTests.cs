using System.Text.RegularExpressions;

namespace ObjectStore.Architecture.Tests;

/// <summary>Rules of the source text: time and chance come from outside, everywhere beneath the host.</summary>
public sealed partial class SourceTests
{
    [Fact]
    public void SourceBeneathTheHost_TakesTimeAndChanceFromOutside()
    {
        string[] files = [.. Repository.Files("src", "*.cs").Where(path => !path.StartsWith("src/Silo/", StringComparison.Ordinal))];
        Assert.NotEmpty(files);
        List<string> calls = [];
        foreach (string path in files)
        {
            string[] lines = Repository.Read(path).Split('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                if (Ambient().IsMatch(Comment().Replace(lines[i], ""))) calls.Add($"{path}:{i + 1}: {lines[i].Trim()}");
            }
        }

        Assert.Empty(calls);
    }

    [Theory]
    [InlineData("x = DateTime.UtcNow;")]
    [InlineData("x = System.DateTime . Now;")]
    [InlineData("x = DateTimeOffset.UtcNow;")]
    [InlineData("Random.Shared.Next()")]
    public void Scan_FindsAmbientTimeAndChance(string line) => Assert.Matches(Ambient(), line);

    [Theory]
    [InlineData("time.GetUtcNow()")]
    [InlineData("new Random(seed)")]
    public void Scan_PassesWhatIsInjected(string line) => Assert.DoesNotMatch(Ambient(), line);

    [GeneratedRegex(@"\bDateTime(Offset)?\s*\.\s*(UtcNow|Now|Today)\b|\bRandom\s*\.\s*Shared\b")]
    private static partial Regex Ambient();

    [GeneratedRegex("//.*$")]
    private static partial Regex Comment();
}
