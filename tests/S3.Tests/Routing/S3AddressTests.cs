using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Tests.Routing;

public sealed class S3AddressTests
{
    private static readonly string[] Domains = ["s3.example.com", "example.com", "local:9000"];

    [Theory]
    [InlineData("localhost:9000", "/", null, null)]
    [InlineData("localhost:9000", "/b", "b", null)]
    [InlineData("localhost:9000", "/b/", "b", null)]
    [InlineData("localhost:9000", "/b/k?acl", "b", "k")]
    [InlineData("localhost:9000", "/b//k", "b", "/k")]
    [InlineData("localhost:9000", "/b/a//b/./../c", "b", "a//b/./../c")]
    [InlineData("localhost:9000", "/b/a%2Fb", "b", "a/b")]
    [InlineData("localhost:9000", "/b/a+b%20c%2B", "b", "a+b c+")]
    [InlineData("localhost:9000", "/b/%25%32%30", "b", "%20")]
    [InlineData("localhost:9000", "/b/%E6%97%A5", "b", "日")]
    [InlineData("localhost:9000", "/b/k/", "b", "k/")]
    [InlineData("localhost:9000", "http://localhost:9000/b/k?x", "b", "k")]
    [InlineData("[::1]:9000", "/b/k", "b", "k")]
    [InlineData("bucket.s3.example.com", "/", "bucket", null)]
    [InlineData("bucket.s3.example.com:8080", "/k/l", "bucket", "k/l")]
    [InlineData("BUCKET.S3.Example.com", "/k", "bucket", "k")]
    [InlineData("my.bucket.s3.example.com", "//k", "my.bucket", "/k")]
    [InlineData("s3.example.com", "/b/k", "b", "k")]
    [InlineData("other.example.com", "/k", "other", "k")]
    [InlineData("badexample.com", "/b/k", "b", "k")]
    [InlineData("x.local:9000", "/k", "x", "k")]
    [InlineData("x.local:9001", "/b/k", "b", "k")]
    public void TryParse_WhenAddressIsLegal_FindsBucketAndKey(string host, string target, string? bucket, string? key)
    {
        Assert.True(S3Address.TryParse(host, target, Domains, out S3Address address, out S3Error? error));
        Assert.Null(error);
        Assert.Equal(bucket, address.Bucket);
        Assert.Equal(key, address.Key);
    }

    [Theory]
    [InlineData("/b/%zz", "InvalidURI")]
    [InlineData("/b/%2", "InvalidURI")]
    [InlineData("/b/%FF", "InvalidURI")]
    [InlineData("/b/%ED%A0%80", "InvalidURI")]
    [InlineData("/%C0%AF/k", "InvalidURI")]
    [InlineData("*", "InvalidURI")]
    [InlineData("//k", "InvalidBucketName")]
    public void TryParse_WhenAddressIsMalformed_Refuses(string target, string code)
    {
        Assert.False(S3Address.TryParse("localhost", target, Domains, out _, out S3Error? error));
        Assert.Equal(code, error!.Code.Code);
    }

    [Theory]
    [InlineData(1024, true)]
    [InlineData(1025, false)]
    [InlineData(5000, false)]
    public void TryParse_WhenKeyIsLong_AllowsUpTo1024Bytes(int length, bool allowed)
    {
        foreach (string target in new[] { "/b/" + new string('a', length), "/b/" + string.Concat(Enumerable.Repeat("%61", length)) })
        {
            Assert.Equal(allowed, S3Address.TryParse("localhost", target, [], out _, out S3Error? error));
            if (!allowed) Assert.Same(S3ErrorCode.KeyTooLongError, error!.Code);
        }
    }

    [Theory]
    [InlineData("abc", true)]
    [InlineData("a.b-c.1", true)]
    [InlineData("ab", false)]
    [InlineData("Abc", false)]
    [InlineData("a_b", false)]
    [InlineData("-abc", false)]
    [InlineData("abc.", false)]
    [InlineData("a..b", false)]
    [InlineData("192.168.5.4", false)]
    [InlineData("192.168.5.4a", true)]
    [InlineData("xn--abc", false)]
    [InlineData("sthree-abc", false)]
    [InlineData("abc-s3alias", false)]
    [InlineData("abc--ol-s3", false)]
    [InlineData("abc--x-s3", false)]
    public void IsValid_OfBucketName_FollowsTheNamingRules(string name, bool expected)
    {
        Assert.Equal(expected, BucketName.IsValid(name));
        Assert.False(BucketName.IsValid(new string('a', 64)));
        Assert.True(BucketName.IsValid(new string('a', 63)));
    }

    [Fact]
    public void Get_OfQueryString_DecodesAndTellsAbsentFromEmpty()
    {
        Assert.True(QueryString.TryParse("?uploads&prefix=a%2Fb+c&&max-keys=7&e=", out QueryString query, out _));
        Assert.True(query.Has("uploads"));
        Assert.Equal("", query.Get("uploads"));
        Assert.Equal("a/b c", query.Get("prefix"));
        Assert.Equal("", query.Get("e"));
        Assert.Null(query.Get("none"));
        Assert.True(query.TryGetInt32("max-keys", 1000, 0, 1000, out int maxKeys, out _));
        Assert.Equal(7, maxKeys);
        Assert.False(query.TryGetInt32("prefix", 1000, 0, 1000, out _, out S3Error? error));
        Assert.Same(S3ErrorCode.InvalidArgument, error!.Code);
        Assert.False(QueryString.TryParse("a=%F", out _, out error));
        Assert.Same(S3ErrorCode.InvalidURI, error!.Code);
    }
}
