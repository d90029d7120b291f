namespace ObjectStore.S3.Errors;

/// <summary>
/// Carries an <see cref="S3Error"/> out of a place that cannot return one: a body decoder or an XML reader deep in a stream.
/// The gateway turns it into a response in the one place where it also turns returned errors.
/// </summary>
public sealed class S3Exception : Exception
{
    /// <summary>Throws <paramref name="error"/> to the client; <paramref name="inner"/> is for the log only.</summary>
    public S3Exception(S3Error error, Exception? inner = null) : base($"{error.Code.Code}: {error.Message}", inner) => Error = error;

    /// <summary>Throws <paramref name="code"/> with the catalogue's message, or with <paramref name="message"/>.</summary>
    public S3Exception(S3ErrorCode code, string? message = null, Exception? inner = null)
        : this(new S3Error(code, message ?? code.DefaultMessage), inner) { }

    /// <summary>What the client is told.</summary>
    public S3Error Error { get; }
}
