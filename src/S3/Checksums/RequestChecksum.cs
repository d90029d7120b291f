using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Checksums;

/// <summary>
/// What a request says about the checksum of its body. <see cref="Expected"/> is set when a header carries the value, <see cref="IsTrailer"/> when it
/// will follow the body; both unset with an algorithm set means "compute and store it".
/// </summary>
/// <param name="Algorithm">The algorithm, or null when the request names none.</param>
/// <param name="Expected">The value from a header, or null.</param>
/// <param name="IsTrailer">True when the value comes as a trailer.</param>
/// <param name="ContentMd5">The 16 bytes of Content-MD5, or null.</param>
public readonly record struct RequestChecksum(ChecksumAlgorithm? Algorithm, ChecksumValue? Expected, bool IsTrailer, byte[]? ContentMd5)
{
    /// <summary>Reads the checksum headers of PutObject, UploadPart and every operation with an XML body.</summary>
    /// <param name="header">Finds a header by its lower-case name; null when it is absent.</param>
    /// <param name="checksum">What the request says.</param>
    /// <param name="error">
    /// InvalidRequest (several checksums, a value that is no base64 of the right length, an algorithm that does not agree with the value), InvalidDigest (Content-MD5).
    /// </param>
    public static bool TryRead(Func<string, string?> header, out RequestChecksum checksum, out S3Error? error)
    {
        checksum = default;
        ChecksumAlgorithm? algorithm = null;
        ChecksumValue? expected = null;
        bool isTrailer = false;
        foreach (ChecksumAlgorithm candidate in ChecksumAlgorithms.All)
        {
            string? text = header(candidate.HeaderName());
            if (text is null) continue;
            if (algorithm is not null) return Refuse("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.", out error);
            if (!ChecksumValue.TryParse(candidate, text, allowComposite: false, out ChecksumValue value))
            {
                return Refuse($"Value for {candidate.HeaderName()} header is invalid.", out error);
            }

            algorithm = candidate;
            expected = value;
        }

        string? trailers = header("x-amz-trailer");
        if (trailers is not null)
        {
            foreach (string name in trailers.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
            {
                if (!ChecksumAlgorithms.TryFromHeader(name, out ChecksumAlgorithm trailing))
                {
                    return Refuse("The value specified in the x-amz-trailer header is not supported", out error);
                }

                if (algorithm is not null) return Refuse("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.", out error);
                algorithm = trailing;
                isTrailer = true;
            }
        }

        string? declared = header("x-amz-sdk-checksum-algorithm");
        if (declared is not null)
        {
            if (!ChecksumAlgorithms.TryFromName(declared, out ChecksumAlgorithm named))
            {
                return Refuse("Value for x-amz-sdk-checksum-algorithm header is invalid.", out error);
            }

            if (algorithm is not null && algorithm != named) return Refuse("Value for x-amz-sdk-checksum-algorithm header is invalid.", out error);
            if (algorithm is null && header("content-md5") is null)
            {
                return Refuse("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.", out error);
            }
        }

        if (!TryReadContentMd5(header("content-md5"), out byte[]? contentMd5, out error)) return false;
        checksum = new RequestChecksum(algorithm, expected, isTrailer, contentMd5);
        return true;
    }

    /// <summary>Reads x-amz-checksum-algorithm and x-amz-checksum-type of CreateMultipartUpload or CopyObject; nulls when the request names none.</summary>
    public static bool TryReadMultipart(string? algorithmHeader, string? typeHeader, out ChecksumAlgorithm? algorithm, out ChecksumType? type, out S3Error? error)
    {
        algorithm = null;
        type = null;
        error = null;
        if (algorithmHeader is not null)
        {
            if (!ChecksumAlgorithms.TryFromName(algorithmHeader, out ChecksumAlgorithm parsed))
            {
                return Refuse("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]", out error);
            }

            algorithm = parsed;
        }

        if (!TryParseType(typeHeader, out type)) return Refuse("Value for x-amz-checksum-type header is invalid.", out error);
        if (type is not null && algorithm is null) return Refuse("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.", out error);
        if (type is { } given && algorithm is { } chosen && !chosen.SupportsMultipart(given))
        {
            return Refuse($"The {(given == ChecksumType.Composite ? "COMPOSITE" : "FULL_OBJECT")} checksum type cannot be used with the {chosen.Name().ToLowerInvariant()} checksum algorithm.", out error);
        }

        type ??= algorithm?.DefaultMultipartType();
        return true;
    }

    /// <summary>Parses "FULL_OBJECT" or "COMPOSITE"; null stays null.</summary>
    public static bool TryParseType(string? text, out ChecksumType? type)
    {
        type = text switch
        {
            "FULL_OBJECT" => ChecksumType.FullObject,
            "COMPOSITE" => ChecksumType.Composite,
            _ => null,
        };
        return text is null || type is not null;
    }

    /// <summary>Holds the trailer or header value against what was computed; null when they agree.</summary>
    public static S3Error? Verify(in ChecksumValue expected, in ChecksumValue computed) =>
        expected == computed ? null : S3Error.ChecksumMismatch(computed.Algorithm.Name());

    /// <summary>Parses the value of a trailer. False with InvalidRequest.</summary>
    public static bool TryParseTrailer(ChecksumAlgorithm algorithm, string text, out ChecksumValue value, out S3Error? error)
    {
        error = null;
        return ChecksumValue.TryParse(algorithm, text, allowComposite: false, out value) || Refuse($"Value for {algorithm.HeaderName()} trailing header is invalid.", out error);
    }

    private static bool TryReadContentMd5(string? text, out byte[]? md5, out S3Error? error)
    {
        md5 = null;
        error = null;
        if (text is null) return true;
        byte[] bytes = new byte[16];
        if (text.Trim().Length == 24 && Convert.TryFromBase64String(text.Trim(), bytes, out int written) && written == 16)
        {
            md5 = bytes;
            return true;
        }

        error = new S3Error(S3ErrorCode.InvalidDigest).WithDetail("Content-MD5", text);
        return false;
    }

    private static bool Refuse(string message, out S3Error? error)
    {
        error = S3Error.InvalidRequest(message);
        return false;
    }
}
