using ObjectStore.S3.Signing;

namespace ObjectStore.Conformance.Tests.BadInput;

public sealed class SigningTests(ServerFixture server) : BadInputTest(server)
{
    [Fact]
    public Task AWrongSignature_IsSignatureDoesNotMatch() => RefusedAsync(403, "SignatureDoesNotMatch", Put() with
    {
        Spoil = headers => headers["authorization"] = headers["authorization"]![..^4] + "0000",
    });

    [Fact]
    public Task AnUnknownAccessKey_IsInvalidAccessKeyId() => RefusedAsync(403, "InvalidAccessKeyId", Put() with
    {
        Spoil = headers => headers["authorization"] = headers["authorization"]!.Replace(Server.AccessKey, "nobody", StringComparison.Ordinal),
    });

    [Fact]
    public Task NoSignature_IsAccessDenied() => RefusedAsync(403, "AccessDenied", Put() with { IsSigned = false });

    [Fact]
    public Task AnotherAuthorizationScheme_IsRefused() => RefusedAsync(400, "InvalidArgument", Put() with
    {
        IsSigned = false,
        Headers = [("Authorization", "Basic dXNlcjpwYXNz"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")],
    });

    [Theory]
    [InlineData(-20)]
    [InlineData(20)]
    public Task AClockTwentyMinutesOff_IsRequestTimeTooSkewed(int minutes) =>
        RefusedAsync(403, "RequestTimeTooSkewed", Put() with { ClockOffset = TimeSpan.FromMinutes(minutes) });

    [Fact]
    public async Task AClockTenMinutesOff_IsAccepted() =>
        Assert.Equal(200, (await Server.Raw.SendAsync(Put() with { ClockOffset = TimeSpan.FromMinutes(-10) })).Status);

    [Fact]
    public Task AnAmzHeaderThatIsNotSigned_IsAccessDenied() =>
        RefusedAsync(403, "AccessDenied", Put() with { Spoil = headers => headers.Add("x-amz-meta-added", "later") });

    [Fact]
    public Task AnotherPathThanSigned_IsSignatureDoesNotMatch() => RefusedAsync(403, "SignatureDoesNotMatch", Put() with
    {
        Spoil = headers => headers["host"] = "elsewhere.example",
    });

    [Fact]
    public async Task AnExpiredPresignedUrl_IsAccessDenied()
    {
        RawAnswer answer = await RefusedAsync(403, "AccessDenied", Presigned("PUT", DateTimeOffset.UtcNow.AddMinutes(-10), TimeSpan.FromMinutes(5)));
        Assert.Contains("expired", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public Task APresignedUrlForLongerThanAWeek_IsRefused() =>
        RefusedAsync(400, "AuthorizationQueryParametersError", Presigned("PUT", DateTimeOffset.UtcNow, TimeSpan.FromDays(8)));

    [Fact]
    public Task APresignedUrlOfTheFuture_IsAccessDenied() =>
        RefusedAsync(403, "AccessDenied", Presigned("PUT", DateTimeOffset.UtcNow.AddHours(1), TimeSpan.FromMinutes(5)));

    [Fact]
    public Task AHashThatIsNotTheBodys_IsXAmzContentSHA256Mismatch() =>
        RefusedAsync(400, "XAmzContentSHA256Mismatch", Put() with { ContentSha256 = SigV4Signer.HashPayload([9]) });

    [Fact]
    public Task AHashThatIsNone_IsInvalidArgument() => RefusedAsync(400, "InvalidArgument", Put() with { ContentSha256 = "no-hash" });

    private RawRequest Put() => new("PUT", $"/{Bucket}/key") { Body = RandomBytes(1000) };

    private RawRequest Presigned(string method, DateTimeOffset signedAt, TimeSpan validity)
    {
        SigV4HeaderList headers = new();
        headers.Add("Host", Server.Endpoint.Authority);
        string query = Server.Signer.Presign(method, $"/{Bucket}/key", "", headers, validity, signedAt);
        return new RawRequest(method, $"/{Bucket}/key", query) { IsSigned = false, Body = [1] };
    }
}
