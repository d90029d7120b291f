using ObjectStore.Gateway.Objects;
using ObjectStore.S3.Errors;

namespace ObjectStore.Gateway.Tests.Objects;

public sealed class ContinuationTokenTests
{
    [Theory]
    [InlineData("", false)]
    [InlineData("key", false)]
    [InlineData("folder/", true)]
    [InlineData("\u00e4\U0001f600\u0001", true)]
    public void Token_RoundTrips(string last, bool isPrefix)
    {
        byte[] bytes = System.Text.Encoding.UTF8.GetBytes(last);
        (byte[] decoded, bool decodedIsPrefix) = ContinuationToken.Decode(ContinuationToken.Encode(bytes, isPrefix));
        Assert.Equal(isPrefix, decodedIsPrefix);
        Assert.Equal(bytes, decoded);
    }

    [Fact]
    public void Token_OfTheLongestKey_RoundTrips()
    {
        byte[] last = [.. Enumerable.Range(0, 1024).Select(n => (byte)n)];
        Assert.Equal(last, ContinuationToken.Decode(ContinuationToken.Encode(last, false)).Last);
    }

    [Theory]
    [InlineData("")]
    [InlineData("1")]
    [InlineData("1x")]
    [InlineData("2kYQ")]
    [InlineData("1k!!")]
    [InlineData("1ka+b/")]
    [InlineData("folder/key")]
    public void TokenThatWasNotIssued_IsInvalidArgument(string token) =>
        Assert.Equal(S3ErrorCode.InvalidArgument, Assert.Throws<S3Exception>(() => ContinuationToken.Decode(token)).Error.Code);

    [Fact]
    public void TokenOfAnImpossibleKey_IsInvalidArgument() =>
        Assert.Equal(S3ErrorCode.InvalidArgument, Assert.Throws<S3Exception>(() => ContinuationToken.Decode(ContinuationToken.Encode(new byte[1025], false))).Error.Code);
}
