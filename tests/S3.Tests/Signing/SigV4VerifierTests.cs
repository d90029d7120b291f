using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;
using ObjectStore.S3.Signing;
using static ObjectStore.S3.Tests.Signing.SigningFixture;

namespace ObjectStore.S3.Tests.Signing;

public sealed class SigV4VerifierTests
{
    [Fact]
    public void Verify_WhenGetObjectExampleOfAws_Succeeds()
    {
        SigV4Result result = Verifier().Verify("GET", "/test.txt", "", HeaderList(
            ("Host", Host), ("Range", "bytes=0-9"), ("x-amz-content-sha256", EmptyHash), ("x-amz-date", "20130524T000000Z"),
            ("Authorization", Authorization("host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"))));
        Assert.Null(result.Error);
        Assert.Equal(AccessKey, result.AccessKey);
        Assert.Equal(PayloadMode.Sha256, result.PayloadMode);
        Assert.Equal(EmptyHash, result.PayloadHash.ToString());
    }

    [Fact]
    public void Verify_WhenPutObjectExampleOfAws_Succeeds()
    {
        SigV4Result result = Verifier().Verify("PUT", "/test%24file.text", "", HeaderList(
            ("Host", Host), ("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY"), ("x-amz-date", "20130524T000000Z"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
            ("Authorization", Authorization(
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"))));
        Assert.Null(result.Error);
    }

    [Theory]
    [InlineData("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")]
    [InlineData("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")]
    [InlineData("prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")]
    public void Verify_WhenBucketExampleOfAws_Succeeds(string query, string signature)
    {
        SigV4Result result = Verifier().Verify("GET", "/", query, HeaderList(
            ("Host", Host), ("x-amz-content-sha256", EmptyHash), ("x-amz-date", "20130524T000000Z"),
            ("Authorization", Authorization("host;x-amz-content-sha256;x-amz-date", signature))));
        Assert.Null(result.Error);
    }

    private const string PresignedExample =
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

    [Fact]
    public void Verify_WhenPresignedExampleOfAws_Succeeds()
    {
        SigV4Result result = Verifier(Now.AddHours(23)).Verify("GET", "/test.txt", PresignedExample, HeaderList(("Host", Host)));
        Assert.Null(result.Error);
        Assert.True(result.IsPresigned);
        Assert.Equal(PayloadMode.Unsigned, result.PayloadMode);
    }

    [Fact]
    public void Verify_WhenPresignedHasExpired_ReturnsAccessDenied()
    {
        SigV4Result result = Verifier(Now.AddSeconds(86401)).Verify("GET", "/test.txt", PresignedExample, HeaderList(("Host", Host)));
        Assert.Same(S3ErrorCode.AccessDenied, result.Error!.Code);
        Assert.Equal("Request has expired", result.Error.Message);
    }

    [Fact]
    public void Verify_WhenPresignedIsFromTheFuture_ReturnsAccessDenied()
    {
        SigV4Result result = Verifier(Now.AddMinutes(-16)).Verify("GET", "/test.txt", PresignedExample, HeaderList(("Host", Host)));
        Assert.Same(S3ErrorCode.AccessDenied, result.Error!.Code);
    }

    [Theory]
    [InlineData("X-Amz-Expires=86400", "X-Amz-Expires=604801")]
    [InlineData("X-Amz-Expires=86400", "X-Amz-Expires=0")]
    [InlineData("X-Amz-Expires=86400", "X-Amz-Expires=-1")]
    [InlineData("X-Amz-Expires=86400", "X-Amz-Expires=soon")]
    [InlineData("&X-Amz-Expires=86400", "")]
    [InlineData("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130524")]
    [InlineData("%2Faws4_request", "%2Faws3_request")]
    [InlineData("20130524%2F", "20130525%2F")]
    public void Verify_WhenPresignedParameterIsWrong_ReturnsAuthorizationQueryParametersError(string good, string bad)
    {
        SigV4Result result = Verifier().Verify("GET", "/test.txt", PresignedExample.Replace(good, bad), HeaderList(("Host", Host)));
        Assert.Same(S3ErrorCode.AuthorizationQueryParametersError, result.Error!.Code);
    }

    [Fact]
    public void Verify_WhenSignatureDiffers_ReturnsSignatureDoesNotMatchWithWhatWasSigned()
    {
        SigV4HeaderList headers = Signed("GET", "/k", "");
        headers["authorization"] = headers["authorization"]![..^1] + (headers["authorization"]![^1] == '0' ? '1' : '0');
        SigV4Result result = Verifier().Verify("GET", "/k", "", headers);
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, result.Error!.Code);
        Assert.StartsWith("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n", result.Error.Detail("StringToSign"));
        Assert.StartsWith("GET\n/k\n\nhost:", result.Error.Detail("CanonicalRequest"));
        Assert.False(result.IsSuccess);
    }

    [Fact]
    public void Verify_WhenEachPartOfTheRequestChanges_ReturnsSignatureDoesNotMatch()
    {
        SigV4HeaderList headers = Signed("GET", "/k", "a=1");
        SigV4Verifier verifier = Verifier();
        Assert.Null(verifier.Verify("GET", "/k", "a=1", headers).Error);
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, verifier.Verify("PUT", "/k", "a=1", headers).Error!.Code);
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, verifier.Verify("GET", "/K", "a=1", headers).Error!.Code);
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, verifier.Verify("GET", "/k", "a=2", headers).Error!.Code);
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, verifier.Verify("GET", "/k", "", headers).Error!.Code);
        headers["host"] = "other";
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, verifier.Verify("GET", "/k", "a=1", headers).Error!.Code);
    }

    [Fact]
    public void Verify_WhenAmzHeaderIsNotSigned_ReturnsAccessDenied()
    {
        SigV4HeaderList headers = Signed("PUT", "/k", "");
        headers.Add("X-Amz-Acl", "public-read");
        S3Error error = Verifier().Verify("PUT", "/k", "", headers).Error!;
        Assert.Same(S3ErrorCode.AccessDenied, error.Code);
        Assert.Equal("x-amz-acl", error.Detail("HeadersNotSigned"));
    }

    [Theory]
    [InlineData(901)]
    [InlineData(-901)]
    public void Verify_WhenClockIsOff_ReturnsRequestTimeTooSkewed(int seconds)
    {
        S3Error error = Verifier(Now.AddSeconds(seconds)).Verify("GET", "/k", "", Signed("GET", "/k", "")).Error!;
        Assert.Same(S3ErrorCode.RequestTimeTooSkewed, error.Code);
        Assert.Equal("20130524T000000Z", error.Detail("RequestTime"));
    }

    [Theory]
    [InlineData(900)]
    [InlineData(-900)]
    public void Verify_WhenClockIsOffByNoMoreThanAllowed_Succeeds(int seconds) =>
        Assert.Null(Verifier(Now.AddSeconds(seconds)).Verify("GET", "/k", "", Signed("GET", "/k", "")).Error);

    [Fact]
    public void Verify_WhenAnonymous_ReturnsAccessDenied() =>
        Assert.Same(S3ErrorCode.AccessDenied, Verifier().Verify("GET", "/k", "", HeaderList(("Host", Host))).Error!.Code);

    [Fact]
    public void Verify_WhenSignatureVersion2_ReturnsInvalidRequest()
    {
        Assert.Same(S3ErrorCode.InvalidRequest, Verifier().Verify("GET", "/k", "", HeaderList(("Host", Host), ("Authorization", "AWS AKID:sig"))).Error!.Code);
        Assert.Same(S3ErrorCode.InvalidRequest, Verifier().Verify("GET", "/k", "AWSAccessKeyId=A&Signature=s&Expires=1", HeaderList(("Host", Host))).Error!.Code);
    }

    [Fact]
    public void Verify_WhenBothMechanisms_ReturnsInvalidArgument() =>
        Assert.Same(S3ErrorCode.InvalidArgument, Verifier().Verify("GET", "/test.txt", PresignedExample, Signed("GET", "/test.txt", PresignedExample)).Error!.Code);

    [Fact]
    public void Verify_WhenAccessKeyIsUnknown_ReturnsInvalidAccessKeyId()
    {
        SigV4HeaderList headers = HeaderList(("Host", Host));
        new SigV4Signer("NOBODY", Secret).SignHeaders("GET", "/k", "", headers, EmptyHash, Now);
        Assert.Same(S3ErrorCode.InvalidAccessKeyId, Verifier().Verify("GET", "/k", "", headers).Error!.Code);
    }

    [Fact]
    public void Verify_WhenSecretIsRotated_RefusesTheOldOneAtOnce()
    {
        RotatingStore store = new() { Secret = new SecretKey(Secret) };
        SigV4Verifier verifier = new(store, new FixedTime(Now));
        SigV4HeaderList headers = Signed("GET", "/k", "");
        Assert.Null(verifier.Verify("GET", "/k", "", headers).Error);
        store.Secret = new SecretKey("another");
        Assert.Same(S3ErrorCode.SignatureDoesNotMatch, verifier.Verify("GET", "/k", "", headers).Error!.Code);
        store.Secret = null;
        Assert.Same(S3ErrorCode.InvalidAccessKeyId, verifier.Verify("GET", "/k", "", headers).Error!.Code);
    }

    private sealed class RotatingStore : ICredentialStore
    {
        public SecretKey? Secret { get; set; }

        public bool TryGetSecret(string accessKey, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out SecretKey? secret)
        {
            secret = Secret;
            return secret is not null;
        }
    }

    [Fact]
    public void Verify_WhenRegionIsConfigured_RefusesAnother()
    {
        SigV4Options options = new() { Region = "eu-west-1" };
        S3Error error = Verifier(options: options).Verify("GET", "/k", "", Signed("GET", "/k", "")).Error!;
        Assert.Same(S3ErrorCode.AuthorizationHeaderMalformed, error.Code);
        Assert.Equal("eu-west-1", error.Detail("Region"));
    }

    [Fact]
    public void Verify_WhenSessionTokenIsMissingOrWrongOrExpired_Refuses()
    {
        SecretKey temporary = new(Secret, "token", Now.AddHours(1));
        Assert.Same(S3ErrorCode.InvalidToken, Verifier(secret: temporary).Verify("GET", "/k", "", Signed("GET", "/k", "")).Error!.Code);
        Assert.Same(S3ErrorCode.InvalidToken, Verifier(secret: temporary).Verify("GET", "/k", "", Signed("GET", "/k", "", ("x-amz-security-token", "x"))).Error!.Code);
        Assert.Null(Verifier(secret: temporary).Verify("GET", "/k", "", Signed("GET", "/k", "", ("x-amz-security-token", "token"))).Error);
        SecretKey expired = new(Secret, "token", Now);
        Assert.Same(S3ErrorCode.ExpiredToken, Verifier(secret: expired).Verify("GET", "/k", "", Signed("GET", "/k", "", ("x-amz-security-token", "token"))).Error!.Code);
    }

    [Theory]
    [InlineData("AWS4-HMAC-SHA256 Credential={0},  SignedHeaders={1} ,\tSignature={2}")]
    [InlineData("AWS4-HMAC-SHA256 Credential={0},SignedHeaders={1},Signature={2}")]
    [InlineData("  AWS4-HMAC-SHA256   Signature={2}, SignedHeaders={1}, Credential={0}  ")]
    public void Verify_WhenWhiteSpaceVaries_Succeeds(string form)
    {
        SigV4HeaderList headers = Signed("GET", "/k", "");
        string[] parts = headers["authorization"]!["AWS4-HMAC-SHA256 ".Length..].Split(", ").Select(part => part[(part.IndexOf('=') + 1)..]).ToArray();
        headers["authorization"] = string.Format(System.Globalization.CultureInfo.InvariantCulture, form, parts[0], parts[1], parts[2]);
        Assert.Null(Verifier().Verify("GET", "/k", "", headers).Error);
    }

    [Theory]
    [InlineData("AWS4-HMAC-SHA256")]
    [InlineData("AWS4-HMAC-SHA256 Credential=")]
    [InlineData("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=00")]
    [InlineData("AWS4-HMAC-SHA256 Credential=////, SignedHeaders=host, Signature=00")]
    [InlineData("AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=00")]
    [InlineData("AWS4-HMAC-SHA256 Credential=A/2013/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00")]
    [InlineData("AWS4-HMAC-SHA256 Credential=A/20130523/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00")]
    public void Verify_WhenHeaderIsMalformed_ReturnsAuthorizationHeaderMalformed(string authorization)
    {
        SigV4Result result = Verifier().Verify("GET", "/", "", HeaderList(
            ("Host", Host), ("x-amz-date", "20130524T000000Z"), ("x-amz-content-sha256", EmptyHash), ("Authorization", authorization)));
        Assert.Same(S3ErrorCode.AuthorizationHeaderMalformed, result.Error!.Code);
    }

    [Fact]
    public void Verify_WhenContentHashIsNoHash_ReturnsInvalidArgument()
    {
        SigV4HeaderList headers = HeaderList(("Host", Host));
        new SigV4Signer(AccessKey, Secret).SignHeaders("GET", "/k", "", headers, "nonsense", Now);
        Assert.Same(S3ErrorCode.InvalidArgument, Verifier().Verify("GET", "/k", "", headers).Error!.Code);
    }

    [Theory]
    [InlineData("UNSIGNED-PAYLOAD", PayloadMode.Unsigned)]
    [InlineData("STREAMING-UNSIGNED-PAYLOAD-TRAILER", PayloadMode.StreamingUnsignedTrailer)]
    [InlineData("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", PayloadMode.StreamingSigned)]
    [InlineData("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", PayloadMode.StreamingSignedTrailer)]
    public void Verify_WhenPayloadModeIsNamed_ReportsIt(string value, PayloadMode expected)
    {
        SigV4HeaderList headers = HeaderList(("Host", Host));
        new SigV4Signer(AccessKey, Secret).SignHeaders("PUT", "/k", "", headers, value, Now);
        SigV4Result result = Verifier().Verify("PUT", "/k", "", headers);
        Assert.Equal(expected, result.PayloadMode);
        Assert.Equal(value, expected.HeaderValue());
    }

    [Fact]
    public void Verify_WhenSignerSignsHostileKeys_Succeeds()
    {
        int seed = Environment.TickCount;
        Random random = new(seed);
        SigV4Signer signer = new(AccessKey, Secret);
        SigV4Verifier verifier = Verifier();
        string[] pieces = ["a", "/", "//", ".", "..", " ", "+", "%", "é", "日本", "😀", "?", "#", "&", "=", "~", "*", "'", "\u0001", "\u007f", "%2F", ";", ":"];
        for (int i = 0; i < 500; i++)
        {
            string key = string.Concat(Enumerable.Range(0, random.Next(1, 20)).Select(_ => pieces[random.Next(pieces.Length)]));
            string value = string.Concat(Enumerable.Range(0, random.Next(0, 20)).Select(_ => pieces[random.Next(pieces.Length)]));
            string path = "/bucket/" + PercentEncoding.EncodeToString(key, keepSlash: random.Next(2) == 0);
            string query = $"prefix={PercentEncoding.EncodeToString(value, false)}&a-b=1&a=2&uploads";
            SigV4HeaderList headers = HeaderList(("Host", "localhost:9000"), ("x-amz-meta-a", "two  spaces "), ("x-amz-meta-b", "1"), ("x-amz-meta-b", "2"));
            signer.SignHeaders("GET", path, query, headers, EmptyHash, Now);
            Assert.True(verifier.Verify("GET", path, query, headers).IsSuccess, $"seed {seed}, path {path}, query {query}");

            string presigned = signer.Presign("GET", path, query, HeaderList(("Host", "localhost:9000")), TimeSpan.FromHours(1), Now);
            Assert.True(verifier.Verify("GET", path, presigned, HeaderList(("Host", "localhost:9000"))).IsSuccess, $"seed {seed}, path {path}, query {presigned}");

            Assert.True(S3Address.TryParse("localhost:9000", path + "?" + query, [], out S3Address address, out _));
            Assert.Equal(key, address.Key);
        }
    }

    [Fact]
    public void ToString_OfSecretKey_IsRedacted() => Assert.DoesNotContain(Secret, new SecretKey(Secret).ToString(), StringComparison.Ordinal);

    private static SigV4HeaderList Signed(string method, string path, string query, params (string, string)[] more)
    {
        SigV4HeaderList headers = HeaderList([("Host", Host), .. more]);
        new SigV4Signer(AccessKey, Secret).SignHeaders(method, path, query, headers, EmptyHash, Now);
        return headers;
    }
}
