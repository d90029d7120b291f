using Microsoft.AspNetCore.Http;
using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Errors;

namespace ObjectStore.Gateway.Tests.Objects;

public sealed class StoredHeadersTests
{
    [Fact]
    public void NoHeaders_StoreNothing() => Assert.Same(ObjectHeaders.Empty, StoredHeaders.Read(With()));

    [Fact]
    public void SystemHeadersAndMetadata_AreKept_AndOthersNot()
    {
        ObjectHeaders kept = StoredHeaders.Read(With(
            ("Content-Type", "text/plain"), ("Cache-Control", "no-cache"), ("Content-Disposition", "inline"), ("Content-Language", "de"), ("Expires", "0"),
            ("X-Amz-Meta-Colour", "Red"), ("x-amz-website-redirect-location", "/there"), ("User-Agent", "test"), ("x-amz-date", "now"), ("Range", "bytes=0-1")));
        Assert.Equal("text/plain", kept.ContentType);
        Assert.Equal(
            ["cache-control:no-cache", "content-disposition:inline", "content-language:de", "expires:0", "x-amz-meta-colour:Red", "x-amz-website-redirect-location:/there"],
            kept.Values.Select(pair => $"{pair.Key}:{pair.Value}").Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("aws-chunked", null)]
    [InlineData("aws-chunked,gzip", "gzip")]
    [InlineData("gzip", "gzip")]
    public void ContentEncoding_IsKeptWithoutTheFraming(string sent, string? kept) =>
        Assert.Equal(kept, StoredHeaders.Read(With(("Content-Encoding", sent))).Values.Select(pair => pair.Value).SingleOrDefault());

    [Fact]
    public void MetadataOverTwoKibibytes_IsTooLarge() =>
        Assert.Equal(S3ErrorCode.MetadataTooLarge, Assert.Throws<S3Exception>(() => StoredHeaders.Read(With(("x-amz-meta-a", new string('x', 2048))))).Error.Code);

    [Theory]
    [InlineData("x-amz-server-side-encryption", "AES256", "NotImplemented")]
    [InlineData("X-Amz-Server-Side-Encryption-Customer-Key", "abc", "NotImplemented")]
    [InlineData("x-amz-tagging", "a=b", "NotImplemented")]
    [InlineData("x-amz-object-lock-mode", "GOVERNANCE", "NotImplemented")]
    [InlineData("x-amz-grant-read", "id=1", "NotImplemented")]
    [InlineData("x-amz-acl", "public-read", "AccessControlListNotSupported")]
    public void WhatIsNotBuilt_IsRefused(string name, string value, string code) =>
        Assert.Equal(code, Assert.Throws<S3Exception>(() => StoredHeaders.RefuseUnsupported(With((name, value)))).Error.Code.Code);

    [Theory]
    [InlineData("x-amz-acl", "private")]
    [InlineData("x-amz-acl", "bucket-owner-full-control")]
    [InlineData("x-amz-meta-tagging", "a=b")]
    public void WhatChangesNothing_IsTaken(string name, string value) => StoredHeaders.RefuseUnsupported(With((name, value)));

    [Theory]
    [InlineData(null, "STANDARD")]
    [InlineData("STANDARD_IA", "STANDARD_IA")]
    [InlineData("GLACIER", "GLACIER")]
    public void StorageClass_IsTakenByName(string? sent, string expected) => Assert.Equal(expected, StoredHeaders.StorageClass(sent is null ? With() : With(("x-amz-storage-class", sent))));

    [Theory]
    [InlineData("FAST")]
    [InlineData("standard")]
    [InlineData("OUTPOSTS")]
    public void StorageClassThatIsNone_IsRefused(string sent) =>
        Assert.Equal(S3ErrorCode.InvalidStorageClass, Assert.Throws<S3Exception>(() => StoredHeaders.StorageClass(With(("x-amz-storage-class", sent)))).Error.Code);

    [Fact]
    public void Conditions_BecomeTheStores()
    {
        Assert.Null(StoredHeaders.Condition(With()));
        Assert.True(StoredHeaders.Condition(With(("If-None-Match", "*")))!.IfAbsent);
        WriteCondition match = StoredHeaders.Condition(With(("If-Match", "\"d41d8cd98f00b204e9800998ecf8427e\", not-a-tag")))!;
        Assert.False(match.IfAbsent);
        Assert.Single(match.IfMatch);
    }

    [Fact]
    public void IfMatchOfATagThatCannotBe_StillIsACondition() => Assert.Single(StoredHeaders.Condition(With(("If-Match", "nonsense")))!.IfMatch);

    private static S3Request With(params (string Name, string Value)[] headers)
    {
        DefaultHttpContext http = new();
        foreach ((string name, string value) in headers) http.Request.Headers.Append(name, value);
        return new S3Request(http, null!, "request");
    }
}
