using ObjectStore.S3.Conditions;

namespace ObjectStore.S3.Tests.Conditions;

public sealed class ConditionTests
{
    private const string Tag = "d41d8cd98f00b204e9800998ecf8427e";
    private const string Before = "Sat, 21 Nov 2026 05:06:06 GMT";
    private const string At = "Sat, 21 Nov 2026 05:06:07 GMT";
    private const string Later = "Sun, 22 Nov 2026 05:06:07 GMT";
    private static readonly DateTimeOffset Modified = new(2026, 11, 21, 5, 6, 7, 123, TimeSpan.Zero);
    private static readonly DateTimeOffset Now = Modified.AddDays(10);

    [Theory]
    [InlineData(null, null, null, null, ConditionOutcome.Proceed)]
    [InlineData("\"" + Tag + "\"", null, null, null, ConditionOutcome.Proceed)]
    [InlineData(Tag, null, null, null, ConditionOutcome.Proceed)]
    [InlineData("\"x\", W/\"" + Tag + "\"", null, null, null, ConditionOutcome.Proceed)]
    [InlineData("*", null, null, null, ConditionOutcome.Proceed)]
    [InlineData("\"x\"", null, null, null, ConditionOutcome.PreconditionFailed)]
    [InlineData(null, "\"" + Tag + "\"", null, null, ConditionOutcome.NotModified)]
    [InlineData(null, "*", null, null, ConditionOutcome.NotModified)]
    [InlineData(null, "\"x\"", null, null, ConditionOutcome.Proceed)]
    [InlineData(null, null, At, null, ConditionOutcome.NotModified)]
    [InlineData(null, null, Before, null, ConditionOutcome.Proceed)]
    [InlineData(null, null, "Sat, 21 Nov 2099 05:06:07 GMT", null, ConditionOutcome.Proceed)]
    [InlineData(null, null, "nonsense", null, ConditionOutcome.Proceed)]
    [InlineData(null, null, null, At, ConditionOutcome.Proceed)]
    [InlineData(null, null, null, Before, ConditionOutcome.PreconditionFailed)]
    [InlineData(Tag, null, null, Before, ConditionOutcome.Proceed)]
    [InlineData(null, "\"x\"", Later, null, ConditionOutcome.Proceed)]
    [InlineData(Tag, Tag, null, null, ConditionOutcome.NotModified)]
    public void EvaluateRead_FollowsThePrecedenceOfRfc9110(string? ifMatch, string? ifNoneMatch, string? ifModified, string? ifUnmodified, ConditionOutcome expected)
    {
        RequestConditions conditions = new(ifMatch, ifNoneMatch, ifModified, ifUnmodified);
        Assert.Equal(expected, conditions.EvaluateRead(Tag, Modified, Now).Outcome);
        ConditionOutcome copy = expected == ConditionOutcome.Proceed ? ConditionOutcome.Proceed : ConditionOutcome.PreconditionFailed;
        Assert.Equal(copy, conditions.EvaluateCopySource(Tag, Modified, Now).Outcome);
    }

    [Theory]
    [InlineData("*", null, null, ConditionOutcome.NoSuchKey)]
    [InlineData(Tag, null, Tag, ConditionOutcome.Proceed)]
    [InlineData("\"x\"", null, Tag, ConditionOutcome.PreconditionFailed)]
    [InlineData(null, "*", Tag, ConditionOutcome.PreconditionFailed)]
    [InlineData(null, "*", null, ConditionOutcome.Proceed)]
    public void EvaluateWrite_DecidesOnTheCurrentVersion(string? ifMatch, string? ifNoneMatch, string? current, ConditionOutcome expected) =>
        Assert.Equal(expected, new RequestConditions(ifMatch, ifNoneMatch, null, null).EvaluateWrite(current).Outcome);

    [Fact]
    public void ValidateWrite_WhenIfNoneMatchNamesATag_ReturnsNotImplemented()
    {
        Assert.Equal(501, new RequestConditions(null, Tag, null, null).ValidateWrite()!.Code.HttpStatus);
        Assert.Null(new RequestConditions(null, "*", null, null).ValidateWrite());
    }

    [Theory]
    [InlineData(null, 10, RangeOutcome.Whole, 0, 0)]
    [InlineData("bytes=0-4", 10, RangeOutcome.Partial, 0, 5)]
    [InlineData("bytes=5-", 10, RangeOutcome.Partial, 5, 5)]
    [InlineData("bytes=-3", 10, RangeOutcome.Partial, 7, 3)]
    [InlineData("bytes=-30", 10, RangeOutcome.Partial, 0, 10)]
    [InlineData("bytes=9-99999999999999999999999", 10, RangeOutcome.Partial, 9, 1)]
    [InlineData("bytes=10-", 10, RangeOutcome.Unsatisfiable, 0, 0)]
    [InlineData("bytes=-0", 10, RangeOutcome.Unsatisfiable, 0, 0)]
    [InlineData("bytes=0-", 0, RangeOutcome.Unsatisfiable, 0, 0)]
    [InlineData("bytes=-1", 0, RangeOutcome.Unsatisfiable, 0, 0)]
    [InlineData("bytes=4-2", 10, RangeOutcome.Whole, 0, 0)]
    [InlineData("bytes=0-1,3-4", 10, RangeOutcome.Whole, 0, 0)]
    [InlineData("bytes=a-b", 10, RangeOutcome.Whole, 0, 0)]
    [InlineData("bytes=-", 10, RangeOutcome.Whole, 0, 0)]
    [InlineData("lines=1-2", 10, RangeOutcome.Whole, 0, 0)]
    public void Resolve_OfRange_ClipsIgnoresOrRefuses(string? header, long size, RangeOutcome outcome, long offset, long length)
    {
        Assert.Equal(outcome, HttpRange.Resolve(header, size, out HttpRange range));
        Assert.Equal(new HttpRange(offset, length), range);
    }
}
