using ObjectStore.Admin.Durability;

namespace ObjectStore.Admin.Tests.Durability;

public sealed class LogNumberTests
{
    [Fact]
    public void Arithmetic_IsThatOfNumbers()
    {
        LogNumber two = LogNumber.From(2), three = LogNumber.From(3);
        Assert.Equal(5, (two + three).ToDouble(), 1e-14);
        Assert.Equal(6, (two * three).ToDouble(), 1e-14);
        Assert.Equal(1.5, (three / two).ToDouble(), 1e-14);
        Assert.Equal(2, (two + LogNumber.Zero).ToDouble(), 1e-14);
        Assert.True((two * LogNumber.Zero).IsZero && (LogNumber.Zero + LogNumber.Zero).IsZero && (LogNumber.Zero / two).IsZero);
        Assert.Equal(new LogNumber(-2000), new LogNumber(-1000) * new LogNumber(-1000));
    }

    [Theory]
    [InlineData(1e-30)]
    [InlineData(1e-10)]
    [InlineData(9.999e-6)]
    [InlineData(1.0001e-5)]
    [InlineData(0.5)]
    [InlineData(3)]
    public void Probability_OfARate_KeepsItsDigits(double rate)
    {
        // 1 − exp(−x) = 2 · exp(−x/2) · sinh(x/2), which loses nothing.
        double expected = 2 * Math.Exp(-rate / 2) * Math.Sinh(rate / 2);
        Assert.Equal(1, LogNumber.From(rate).ToProbability().ToDouble() / expected, 1e-10);
    }

    [Fact]
    public void Probability_BeyondADouble_IsTheRate() => Assert.Equal(-2000, new LogNumber(-2000).ToProbability().Ln);

    [Theory]
    [InlineData(20, 4, 4845)]
    [InlineData(5, 5, 1)]
    [InlineData(5, 0, 1)]
    [InlineData(64, 32, 1.832624140942590534e18)]
    public void Choose_CountsSubsets(int n, int k, double subsets) => Assert.Equal(1, LogNumber.Choose(n, k).ToDouble() / subsets, 1e-12);

    [Theory]
    [InlineData(1.5e-11, "1.50e-11")]
    [InlineData(9.999e-5, "1.00e-04")]
    [InlineData(1, "1.00e+00")]
    [InlineData(1000, "1.00e+03")]
    public void Text_IsScientific(double value, string text) => Assert.Equal(text, LogNumber.From(value).ToString());

    [Fact]
    public void Text_GoesBeyondADouble() => Assert.Equal("1.00e-999", new LogNumber(-999 * Math.Log(10)).ToString());
}
